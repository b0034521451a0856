"""`python -m rppg.train` and `torchrun -m rppg.train`: the command `rppg train`."""

import sys

from rppg.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
