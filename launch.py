"""Search MDR's levels, weight and margin: python launch.py --space search_spaces/mdr_levels.yaml."""

import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until the command has handlers of its own
    try:
        from mdr_tune.cli.launch import main
    except KeyboardInterrupt:
        sys.exit("interrupted: nothing was started")
    sys.exit(main())
