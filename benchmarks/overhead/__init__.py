"""Parts of `trial_overhead.py`.

trials      the trials that both sides run, what is timed of them, and what follows from it   no Ray
recipe      the documented pattern: a Tune function that builds a TorchTrainer for each trial
on_lanes    the same trials on lanes
launch      launch.py in a process of its own, and its seconds accounted for                  no Ray
probe       what runs in that process: launch.py's `main`, with stamps around its parts
tables      what is printed
"""
