"""Parts of `input_pipeline.py`.

photos      the JPEG files that are read
sides       what is timed: Pillow's way and ours
tables      what is printed
"""
