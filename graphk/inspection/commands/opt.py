"""`graphk opt FILE.gk`: passes on the text of a graph."""
from __future__ import annotations

import argparse
import sys

from graphk.inspection.commands.common import CommandError, same_for_all, target_arguments

HELP = "run passes on the text of a graph and print the result"
DESCRIPTION = ("Read the text of a graph or program (as `graphk dump` writes it; `-`: standard input), run those "
               "named, or all that it has not been through, and print what they made: text that parses back.")


def arguments(p: argparse.ArgumentParser) -> None:
    """What it takes."""
    p.add_argument("file", metavar="FILE.gk", help="the text of a graph, or - for standard input")
    p.add_argument("--passes", metavar="A,B,C", help="only these, in their order")
    p.add_argument("--phase", choices=["train", "test"], default="test", help="the learning phase (test)")
    p.add_argument("--run", action="store_true", help="instead of the text: run the graph on random arrays in the "
                                                      "interpreter (a program: on a simulated GPU) and compiled, "
                                                      "and say how results differ")
    p.add_argument("--dim", action="append", default=[], metavar="NAME=N", help="with --run: an open size (16)")
    target_arguments(p, "with --run: whose code runs; cuda is a simulated GPU")
    p.add_argument("--time", action="store_true", help="print the milliseconds of each pass to standard error")


def run(args: argparse.Namespace) -> int:
    """Print the text or the comparison."""
    from graphk.inspection.optimizing import compare, optimize, parsed
    from graphk.ir.node import Graph
    from graphk.ir.text import print_graph
    from graphk.ir.verify import VerifyError
    phase = int(args.phase == "train")
    names = [n for n in args.passes.split(",") if n] if args.passes is not None else None
    try:
        graph = parsed(_text(args.file))
        made = optimize(graph, names, phase)
        if args.time:
            print(made.times(), file=sys.stderr)
        if args.run:
            print(compare(graph, made.ir, phase, _sizes(args.dim), args.target or "cpu"))
        else:
            same_for_all(args, "what passes make is")
            print(print_graph(made.ir) if isinstance(made.ir, Graph) else f"{made.ir}\n", end="")
    except (ValueError, VerifyError) as e:
        raise CommandError(f"{args.file}: {e}") from e
    return 0


def _text(path: str) -> str:
    if path == "-":
        return sys.stdin.read()
    try:
        with open(path, encoding="utf-8") as f:
            return f.read()
    except (OSError, UnicodeDecodeError) as e:
        why = e.strerror if isinstance(e, OSError) else "it is not text"
        raise CommandError(f"cannot read {path!r}: {why}; expected the text of a graph, as `graphk dump "
                           "--format text` writes it") from e


def _sizes(items: list[str]) -> dict[str, int]:
    out = {}
    for item in items:
        name, equals, number = item.partition("=")
        if not equals or not number.isdigit():
            raise CommandError(f"--dim {item!r}: expected NAME=N, such as --dim n=80")
        out[name] = int(number)
    return out
