"""`graphk memory`: what the graphs of a model file or a script need of memory."""
from __future__ import annotations

import argparse
import sys

from graphk.inspection.commands.common import is_script, observed, run_it, sizes, subject_arguments, subjects

HELP = "say what memory the graphs of a model file or a script need"
DESCRIPTION = ("For each graph of a model file, at --batch, or of a script, at the sizes of its calls that need most: "
               "what the arena takes and what sharing its bytes saves, and what lies outside.")


def arguments(p: argparse.ArgumentParser) -> None:
    """What it takes."""
    p.add_argument("--slots", action="store_true", help="and who lies where in each arena, from when to when")
    subject_arguments(p)


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    from graphk.inspection.usage import Usage
    usage = Usage()
    if is_script(args):
        return _script(args, usage)
    called = [(s.executable, sizes(args, s)) for s in subjects(args)]
    print(usage.table(called, args.slots))
    return 0


def _script(args: argparse.Namespace, usage: object) -> int:
    try:
        with observed(usage):
            run_it(args)
    finally:
        print(usage.text(args.slots), file=sys.stderr)            # type: ignore[attr-defined]
    return 0
