"""Parts of `sweep_scale.py`.

search      the search that both sides run                                                   no Ray
trial       its trials, which do nothing
meter       what is stamped at each report                                                   no Ray
ours        the side of mdr_tune, in a process of its own
theirs      the side of plain Ray Tune, in a process of its own
windows     what follows from the stamps: time and memory at the start, in between, the end   no Ray
tables      what is printed
"""
