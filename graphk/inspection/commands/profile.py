"""`graphk profile`: how long each kernel and layer takes, measured."""
from __future__ import annotations

import argparse
import os
import sys

from graphk.inspection.commands.common import CommandError, called, subject_arguments, top_argument

HELP = "measure how long each kernel and layer takes, and how far that is from the floor"
DESCRIPTION = ("Runs each step of each graph by itself, on random inputs and copies of the weights, at --batch (a "
               "script: at its largest call): its time, its share, the least time it could take. The same for each "
               "layer: a kernel of several layers is shared among them.")


def arguments(p: argparse.ArgumentParser) -> None:
    """What it takes."""
    p.add_argument("--trace", metavar="FILE", help="and write Chrome trace events in JSON, for chrome://tracing or "
                                                   "Perfetto")
    top_argument(p)
    subject_arguments(p)


def run(args: argparse.Namespace) -> int:
    """Print the tables, and write the trace."""
    from graphk.inspection.costing import Profile, graph_costs
    path = args.trace and os.path.abspath(args.trace)                      # a script may change the directory
    try:
        found = Profile(graph_costs(s, env, timed=True) for s, env in called(args))
        print(found.text(args.top))
        if args.trace:
            found.trace(path)
            print(f"graphk profile: open {args.trace} in chrome://tracing or ui.perfetto.dev", file=sys.stderr)
    except (OSError, ValueError) as e:
        raise CommandError(str(e)) from e
    return 0
