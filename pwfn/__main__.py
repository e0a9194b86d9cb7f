"""`python -m pwfn ...`, the same as the command `pwfn`."""

import sys

from pwfn.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
