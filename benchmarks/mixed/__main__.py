"""`python -m benchmarks.mixed`."""

import sys

from benchmarks.mixed.command import main

if __name__ == "__main__":
    sys.exit(main())
