"""`python -m hone` is `hone`."""

import sys

from hone.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
