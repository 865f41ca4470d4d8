"""Parts of `gpu_check.py`.

about       what the machine is and has, asked in a process of its own
parts       what is run, in order of worth, and for how long at most
run         one part in a process of its own
report      what is written: a table and a JSON file
"""
