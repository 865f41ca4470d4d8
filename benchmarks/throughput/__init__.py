"""Parts of `training_throughput.py`.

sides       what is timed, and our side of it
loop        a training loop as it is usually written, for the other sides
plain       the other side: the method written down plainly
authors     the authors' side instead, composed of their classes
features    what a step of the head alone is measured with
idle        for how long of a round the device works
tables      what is printed, and the lines for `make bench`
"""
