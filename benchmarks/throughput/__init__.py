"""Parts of `training_throughput.py`.

sides       what is timed, and our side of it
authors     the authors' side, composed of their classes
tables      what is printed
"""
