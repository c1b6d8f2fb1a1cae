"""`graphk cache`: what the kernel cache holds."""
from __future__ import annotations

import argparse

HELP = "say what the kernel cache holds, or empty it"
DESCRIPTION = ("Count the compiled kernels that are kept between processes, by the versions and the processor that "
               "they were made for. Nothing is lost by emptying it but the time to compile them again.")


def arguments(p: argparse.ArgumentParser) -> None:
    """What it takes."""
    p.add_argument("--clear", action="store_true", help="remove them all, and say what was removed")


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    from graphk.inspection.cached import told
    print(told(args.clear))
    return 0
