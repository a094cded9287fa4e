"""Runs the command: `python -m respond_async.dev`, as `respond-async dev` does."""

import sys

from respond_async.dev.command import main

if __name__ == "__main__":
    sys.exit(main())
