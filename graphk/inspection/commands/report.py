"""`graphk report`: the page that shows every stage of a model or a script."""
from __future__ import annotations

import argparse
import os
import sys

from graphk.inspection.commands.common import CommandError, is_script, model_of, sizes, subject_arguments, subjects

HELP = "write one HTML page about a model file or a script"
DESCRIPTION = ("Write one self-contained page: graphs after each pass, kernels with their source and assembly, times, "
               "memory. It needs no network and holds no weights.")


def arguments(p: argparse.ArgumentParser) -> None:
    """What it takes."""
    p.add_argument("-o", "--out", default="graphk_report.html", metavar="FILE", help="the page (graphk_report.html)")
    p.add_argument("--no-times", action="store_true", help="measure nothing")
    subject_arguments(p)


def run(args: argparse.Namespace) -> int:
    """Write the page."""
    from graphk.inspection.page import Page, write_whole
    path = os.path.abspath(args.out)                              # a script may change the directory
    thing = None if is_script(args) else model_of(args)
    chosen = subjects(args, thing)
    title = os.path.basename(args.script or args.file)
    given = {item.partition("=")[0] for item in args.dim}
    dims = {k: n for s in chosen for k, n in sizes(args, s).items() if k in given}
    try:
        page = Page(title, chosen, thing, args.batch, dims, times=not args.no_times)
        write_whole(path, page.html())
    except OSError as e:
        raise CommandError(f"{args.out}: {e.strerror}") from e
    except ImportError as e:
        raise CommandError(str(e)) from e
    print(f"graphk report: open {args.out} ({os.path.getsize(path) / 1e6:.1f} MB)", file=sys.stderr)
    return 0
