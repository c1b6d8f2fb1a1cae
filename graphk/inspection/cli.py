"""The command line: `python -m graphk run | dump | memory | check | convert | doctor`.

In: arguments.  Out: an exit code.  What always holds: `run`, `dump` and `memory` behave as python does for the script
(arguments, path, exit code, traceback); what graphk has to say itself goes to standard error.
"""
from __future__ import annotations

import argparse
import sys
from typing import Sequence


def parser() -> argparse.ArgumentParser:
    """All commands."""
    top = argparse.ArgumentParser(prog="graphk", description="A deep-learning compiler that looks like Keras.")
    top.add_argument("--version", action="version", version=_version())
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    run = commands.add_parser("run", help="run a script with `import keras` giving graphk",
                              description="Run a script as python would, with `import keras` giving graphk.")
    run.add_argument("--tensorflow", action="store_true", help="let `tensorflow.keras` mean graphk, too")
    _script(run)
    dump = commands.add_parser("dump", help="run a script and write every stage of every graph that it compiles",
                               description="Run a script with `import keras` giving graphk, and write every stage of "
                                           "every graph that it compiles. For a program that is started otherwise, set "
                                           "GRAPHK_DUMP=DIR in its environment.")
    dump.add_argument("--out", default="graphk_dump", metavar="DIR", help="the folder to write to (graphk_dump)")
    dump.add_argument("--after", metavar="PASS",
                      help="write only what this pass made (`captured`: the graph before all passes)")
    dump.add_argument("--format", default="all", choices=["text", "dot", "json", "html", "all"],
                      help="text that parses back, Graphviz drawings, JSON, a page per graph, or all of them (all)")
    dump.add_argument("--kernels", action="store_true",
                      help="with LLVM IR and assembly of each kernel (compiles each once more)")
    _script(dump)
    memory = commands.add_parser("memory", help="run a script and say what memory its graphs need",
                                 description="Run a script with `import keras` giving graphk; then say for each graph "
                                             "that it ran, at the sizes that need most, what the arena takes and what "
                                             "sharing its bytes saves, and what lies outside.")
    memory.add_argument("--slots", action="store_true", help="and who lies where in each arena, from when to when")
    _script(memory)
    check = commands.add_parser("check", help="say whether a model file can be read, and all that is wrong with it",
                                description="Look at a model file of any Keras; exits with 1 if graphk cannot read it.")
    check.add_argument("file", help="an HDF5 file, a .keras archive, an ONNX file, or an architecture in JSON or YAML")
    convert = commands.add_parser("convert", help="write a model file in another format",
                                  description="Read a model file of any Keras and write it in the format that the "
                                              "second name's ending says: .h5 (Keras 2), .keras (Keras 3), "
                                              ".weights.h5, .json, .yaml, .onnx or .safetensors.")
    convert.add_argument("file", help="what `check` reads")
    convert.add_argument("out", help="the file to write")
    convert.add_argument("--weights", metavar="FILE", help="weights for the model: HDF5 or .safetensors")
    commands.add_parser("doctor", help="show versions, processor, cache and GPU, and test that graphk works here",
                        description="Look at what graphk runs on, and try it; exits with 1 if something is broken.")
    return top


def _script(p: argparse.ArgumentParser) -> None:
    p.add_argument("script", help="the Python file to run")
    p.add_argument("arguments", nargs=argparse.REMAINDER, help="passed on to the script")


def _version() -> str:
    import graphk
    return f"graphk {graphk.__version__}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    args = parser().parse_args(argv)
    if args.command == "doctor":
        from graphk.inspection.doctor import doctor
        return doctor()
    if args.command in ("check", "convert"):
        from graphk.inspection import files
        return files.check(args.file) if args.command == "check" else files.convert(args.file, args.out, args.weights)
    from graphk.inspection.script import ScriptError, run_script
    try:
        if args.command == "run":
            run_script(args.script, args.arguments, args.tensorflow)
            return 0
        return _memory(args) if args.command == "memory" else _dump(args)
    except ScriptError as e:
        print(f"graphk: {e}", file=sys.stderr)
        return 2


def _dump(args: argparse.Namespace) -> int:
    from graphk.inspection.dumping import FORMATS, Options, Recorder
    from graphk.inspection.script import run_script
    from graphk.runtime.compile import OBSERVERS
    try:
        options = Options(FORMATS if args.format == "all" else (args.format,), args.after, args.kernels)
    except ValueError as e:
        print(f"graphk dump: {e}", file=sys.stderr)
        return 2
    import os
    recorder = Recorder(os.path.abspath(args.out), options)
    OBSERVERS.append(recorder)
    try:
        run_script(args.script, args.arguments)
    finally:
        OBSERVERS.remove(recorder)
        print(_summary(recorder, args.out), file=sys.stderr)
    return 0


def _memory(args: argparse.Namespace) -> int:
    from graphk.inspection.script import run_script
    from graphk.inspection.usage import Usage
    from graphk.runtime.compile import OBSERVERS
    usage = Usage()
    OBSERVERS.append(usage)
    try:
        run_script(args.script, args.arguments)
    finally:
        OBSERVERS.remove(usage)
        print(usage.text(args.slots), file=sys.stderr)
    return 0


def _summary(recorder: "object", out: str) -> str:
    rows = getattr(recorder, "rows", [])
    if not rows:
        return ("graphk dump: the script compiled no graph (graphs are compiled by the first call of fit, evaluate, "
                "predict or "
                "a K.function, and not with GRAPHK_EXECUTOR=interp)")
    return f"graphk dump: {len(rows)} graphs in {out}, open {out}/index.html"


__all__ = ["main", "parser"]
