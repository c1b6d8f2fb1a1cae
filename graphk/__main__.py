"""`python -m graphk`: run a script on graphk, dump what it compiles, check the installation.

In: the command line.  Out: the exit code of the command.  What always holds: everything is in `graphk.inspection.cli`.
"""
from __future__ import annotations

from graphk.inspection.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
