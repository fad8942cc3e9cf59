"""Run the command line: ``python -m initscope``."""

import sys

from initscope.cli import main

if __name__ == "__main__":
    sys.exit(main())
