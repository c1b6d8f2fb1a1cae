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
    import time

    from graphk.codegen import cache
    from graphk.inspection.cached import cache_text
    files = cache.held()
    if not args.clear:
        print(cache_text(files, time.time()))
        return 0
    total = sum(f.bytes for f in files)
    print(f"removed {cache.clear()} files ({total / 1e6:.2f} MB of kernels) from {cache.directory()}")
    return 0
