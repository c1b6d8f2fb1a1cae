"""`graphk memory`: what the graphs of a model file or a script need of memory."""
from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from graphk.inspection.commands.common import (CommandError, is_script, observed, run_it, shown, sizes,
                                               subject_arguments, subjects)

if TYPE_CHECKING:
    from graphk.inspection.usage import Usage

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
    usage = Usage(shown(args), args.phase)
    if is_script(args):
        return _script(args, usage)
    called = [(s, sizes(args, s)) for s in subjects(args)]
    print(usage.table(called, args.slots))
    return 0


def _script(args: argparse.Namespace, usage: Usage) -> int:
    """A script that fails leaves the table of what it ran."""
    try:
        with observed(usage):
            run_it(args)
    finally:
        if usage.ran:
            print(usage.text(args.slots))
    from graphk.inspection.subjects import numbered
    if not usage.ran and usage.seen and args.phase:
        found = ", ".join(s.title for s in numbered(usage.seen))
        raise CommandError(f"the script ran no graph of the phase {args.phase}: found {found}")
    if not usage.ran:
        raise CommandError("the script ran no compiled graph: graphs are compiled by the first call of fit, evaluate, "
                           "predict or a K.function")
    return 0
