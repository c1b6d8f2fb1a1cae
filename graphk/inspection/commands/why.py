"""`graphk why A B FILE`: the rule that joined two nodes in a kernel, or that kept them apart."""
from __future__ import annotations

import argparse

from graphk.inspection.commands.common import CommandError, same_for_all, subject_arguments, subjects

HELP = "say by which rule two layers or nodes share a kernel, or why they do not"
DESCRIPTION = ("A and B are layers, nodes as `graphk dump --after slices` prints them (%12; %12/3 inside a loop), or "
               "labels of kernels. Says whether one kernel computes both and which rule joined them, or the rule that "
               "kept them apart, with its numbers; of nodes further apart, the way between and the first border on it.")


def arguments(p: argparse.ArgumentParser) -> None:
    """What it takes."""
    p.add_argument("a", metavar="A", help="a layer, a node or a kernel")
    p.add_argument("b", metavar="B", help="another")
    subject_arguments(p)


def run(args: argparse.Namespace) -> int:
    """Print an answer per graph that has both; the error of the last where none has."""
    from graphk.inspection import why
    if not args.file and not args.script:
        raise CommandError(f"expected two names and a file: graphk why A B FILE; received {args.a!r} and {args.b!r}")
    same_for_all(args, "what becomes a kernel is")
    try:
        print(why(subjects(args), args.a, args.b, batch=args.batch))
    except ValueError as e:
        raise CommandError(str(e)) from e
    return 0
