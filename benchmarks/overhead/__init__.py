"""Parts of `trial_overhead.py`.

trials      the trials that both sides run, what is timed of them, and what follows from it   no Ray
recipe      the documented pattern: a Tune function that builds a TorchTrainer for each trial
on_lanes    the same trials on lanes
launch      launches of both in processes of their own, and launch.py's seconds accounted for no Ray
probe       ours, in its process: launch.py's `main`, with stamps around its parts
documented  the other, in its process: a script with the documented pattern, one trial
tables      what is printed
"""
