"""Search MDR's levels, weight and margin: python launch.py --space search_spaces/mdr_levels.yaml."""

import sys

from mdr_tune.cli.launch import main

if __name__ == "__main__":
    sys.exit(main())
