"""Parts of `training_throughput.py`.

sides       what is timed, and our side of it
loop        a training loop as it is usually written, for the other sides
plain       the other side: the method written down plainly
bare        the other side instead: torch's and timm's own classes, with the same losses as ours
authors     the authors' side instead, composed of their classes
idle        for how long of a round the device works
tables      what is printed, and the lines for `make bench`
"""
