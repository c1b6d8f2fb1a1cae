"""`graphk diff PASS1 PASS2 FILE`: what passes changed, with the rule that made each change."""
from __future__ import annotations

import argparse

from graphk.inspection.commands.common import CommandError, same_for_all, subject_arguments, subjects

HELP = "show, node by node, what passes changed and by which rule"
DESCRIPTION = ("Compare the graph after one pass (`captured`: before all) with that after a later one: every node that "
               "was removed, added or replaced, with the rule, the layer and the user's line.")


def arguments(p: argparse.ArgumentParser) -> None:
    """What it takes."""
    p.add_argument("first", metavar="PASS1", help="the earlier pass, or `captured`")
    p.add_argument("last", metavar="PASS2", help="the later pass")
    subject_arguments(p)


def run(args: argparse.Namespace) -> int:
    """Print a diff per graph."""
    from graphk.inspection import diff
    same_for_all(args, "what passes change is")
    try:
        print(diff(subjects(args), args.first, args.last))
    except ValueError as e:
        raise CommandError(str(e)) from e
    return 0
