"""Entry point of `python3 -m profilers`."""

from __future__ import annotations

import sys

from profilers.cli import main

if __name__ == "__main__":
    sys.exit(main())
