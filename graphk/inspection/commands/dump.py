"""`graphk dump`: every stage of every graph, as files."""
from __future__ import annotations

import argparse
import contextlib
import os
import sys

from graphk.inspection.commands.common import (CommandError, is_script, observed, run_it, same_for_all, shown,
                                               subject_arguments, subjects)

HELP = "write every stage of every graph of a model file or a script"
DESCRIPTION = ("Write every stage of every graph that a model file holds, or that a script (run with `import keras` "
               "giving graphk) compiles. For a program that is started otherwise, set GRAPHK_DUMP=DIR in its "
               "environment.")


def arguments(p: argparse.ArgumentParser) -> None:
    """What it takes."""
    p.add_argument("--out", default="graphk_dump", metavar="DIR",
                   help="the folder to write to (graphk_dump); - prints one stage to standard output")
    p.add_argument("--after", metavar="PASS", help="only what this pass made (`captured`: the graph before all passes)")
    p.add_argument("--format", default="all", choices=["text", "dot", "svg", "json", "html", "all"],
                   help="text that parses back, Graphviz or SVG drawings, JSON, a page per graph, or all of them but "
                        "SVG (all; text with --out -)")
    p.add_argument("--kernels", action="store_true",
                   help="with machine code of each kernel: LLVM IR and assembly, or PTX (compiles each once more)")
    subject_arguments(p)


def run(args: argparse.Namespace) -> int:
    """Write the folder."""
    from graphk.inspection.dumping import USUAL, Options, Recorder, dump
    if args.out == "-":
        return _printed(args)
    formats = USUAL if args.format == "all" else (args.format,)
    out = os.path.abspath(args.out)
    try:
        if args.after:
            same_for_all(args, "what a pass makes is")
        options = Options(formats, args.after, args.kernels, args.batch, shown(args))
        if is_script(args):
            return _script(args, Recorder(out, options))
        dump(subjects(args), out, options)
    except (ValueError, ImportError) as e:
        raise CommandError(str(e)) from e
    except OSError as e:
        raise CommandError(f"--out {args.out}: {e.strerror}; expected a folder that can be written") from e
    print(f"graphk dump: open {args.out}/index.html", file=sys.stderr)
    return 0


def _printed(args: argparse.Namespace) -> int:
    """One stage of one graph, to standard output; what a script prints goes to standard error."""
    from graphk.inspection.dumping import Options, stage_text
    form = "text" if args.format == "all" else args.format
    try:
        options = Options((form,), args.after)
    except ValueError as e:
        raise CommandError(str(e)) from e
    if options.after is None:
        raise CommandError("--out - prints one stage: name it with --after PASS (`captured`: before all passes)")
    same_for_all(args, "what a pass makes is")
    with contextlib.redirect_stdout(sys.stderr):
        found = subjects(args)
    if len(found) > 1:
        raise CommandError(f"--out - prints one graph and there are {', '.join(s.title for s in found)}: choose one "
                           "with --phase")
    s = found[0]
    ir = s.captured if args.after == "captured" else next(r.after for r in s.records if r.name == args.after)
    print(stage_text(args.after, ir, form), end="")
    return 0


def _script(args: argparse.Namespace, recorder: object) -> int:
    """Each graph is written as soon as it is compiled: a script that fails leaves what came before."""
    try:
        with observed(recorder):
            run_it(args)
    finally:
        print(_said(getattr(recorder, "rows", []), args.out), file=sys.stderr)
    return 0


def _said(rows: list[object], out: str) -> str:
    if not rows:
        return ("graphk dump: the script compiled no graph (graphs are compiled by the first call of fit, evaluate, "
                "predict or a K.function, and not with GRAPHK_EXECUTOR=interp)")
    return f"graphk dump: {len(rows)} graph{'s' * (len(rows) != 1)} in {out}, open {out}/index.html"
