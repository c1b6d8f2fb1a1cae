"""`graphk cost`: FLOPs, bytes and the least time of each kernel and layer."""
from __future__ import annotations

import argparse
import math

from graphk.inspection.commands.common import called, subject_arguments, top_argument

HELP = "say what each kernel and layer computes and moves, and how long that takes at least"
DESCRIPTION = ("For each kernel call of each graph, at --batch (a script: at its largest call): FLOPs, bytes, FLOPs "
               "for each byte, which roof of the machine is met first, and the least time under it; the longest first. "
               "The same for each layer.")


def arguments(p: argparse.ArgumentParser) -> None:
    """What it takes."""
    top_argument(p)
    p.add_argument("--roof", type=_roof, metavar="FLOPS,BYTES", help="what the machine that is meant reaches in a "
                   "second, instead of this one, such as 60e12,3e12")
    subject_arguments(p)


def run(args: argparse.Namespace) -> int:
    """Print the tables."""
    from graphk.inspection.costing import CostTable, graph_costs
    print(CostTable(graph_costs(s, env, roof=args.roof) for s, env in called(args)).text(args.top))
    return 0


def _roof(text: str) -> tuple[float, float]:
    try:
        peak, bandwidth = map(float, text.split(","))
    except ValueError:
        peak = bandwidth = math.nan
    if not (0 < peak < math.inf and 0 < bandwidth < math.inf):
        raise argparse.ArgumentTypeError(f"received {text!r}, expected operations and bytes a second, such as "
                                         "60e12,3e12")
    return peak, bandwidth
