"""`graphk kernel [NAME] FILE`: the kernels, and one of them from its loops to machine code."""
from __future__ import annotations

import argparse
import os

from graphk.inspection.commands.common import CommandError, sizes, subject_arguments, subjects

HELP = "list the kernels, or show one: source, LLVM IR, assembly, CUDA, PTX"
DESCRIPTION = ("Without a name, a table of the kernels with layers, steps and sizes. With one (a label, k3 as in "
               "the table, or a layer's name), its loops, or what is asked for; each begins with layer, pass and the "
               "user's line.")


def arguments(p: argparse.ArgumentParser) -> None:
    """What it takes."""
    p.add_argument("name", nargs="?", metavar="NAME", help="a kernel's label or number; or a layer: all of its")
    p.add_argument("--source", action="store_true", help="the Python source in graphk's dialect (docs/dialect.md)")
    p.add_argument("--llvm", action="store_true", help="LLVM IR")
    p.add_argument("--asm", action="store_true", help="assembly")
    p.add_argument("--cuda", action="store_true", help="CUDA source (numba.cuda)")
    p.add_argument("--ptx", action="store_true", help="PTX; needs the package numba-cuda, and no GPU")
    subject_arguments(p)


def run(args: argparse.Namespace) -> int:
    """Print the table or the texts."""
    from graphk.inspection.kernels import VIEWS, Kernels, views_for
    if args.name and not args.file and not args.script:               # one word alone is the file
        args.name, args.file = None, args.name
    found = subjects(args)
    wanted: dict[str, int] = {}
    for s in found:
        wanted.update(sizes(args, s))
    asked = [v for v in VIEWS if getattr(args, v, False)]
    try:
        views = views_for(found, asked)
    except ValueError as e:
        raise CommandError(f"--target {args.target}: {e}" if args.target else str(e)) from e
    kernels = Kernels(found, args.batch, wanted)
    if args.name is None:
        if asked:
            raise CommandError(f"--{asked[0]} shows one kernel; name it: graphk kernel NAME "
                               f"{os.path.basename(args.script or args.file)} --{asked[0]}")
        print(kernels.table())
        return 0
    try:
        for key in kernels.find(args.name):
            for view in views:
                print(kernels.text(key, view), end="")
    except (ValueError, ImportError) as e:
        raise CommandError(str(e)) from e
    return 0
