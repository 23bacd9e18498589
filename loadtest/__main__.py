"""`python -m loadtest`: the same as the console script `canary-loadtester`, for images without scripts on PATH."""

import sys

from loadtest.server import main

if __name__ == "__main__":
    sys.exit(main())
