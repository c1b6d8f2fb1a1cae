"""The command line: `graphk COMMAND` or `python -m graphk COMMAND`.

In: arguments.  Out: an exit code.  What always holds: each command is a module of `graphk.inspection.commands`; scripts
run as python would run them (arguments, path, exit code, traceback); a mistake of the user's is one line and exit code
2.
"""
from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import io
import os
import sys
from typing import Any, Sequence

COMMANDS = ("summary", "dump", "opt", "diff", "kernel", "memory", "cost", "profile", "why", "report", "check",
            "convert", "doctor", "cache", "run", "export")
OF_SCRIPTS = ("summary", "dump", "diff", "kernel", "memory", "cost", "profile", "why", "report")


def command(name: str) -> Any:
    """The module of a command."""
    return importlib.import_module(f"graphk.inspection.commands.{name}")


def parser() -> argparse.ArgumentParser:
    """All commands."""
    top = argparse.ArgumentParser(prog="graphk", description="A deep-learning compiler that looks like Keras.")
    top.add_argument("--version", action="version", version=_version())
    found = top.add_subparsers(dest="command", required=True, metavar="command")
    for name in COMMANDS:
        module = command(name)
        module.arguments(found.add_parser(name, help=module.HELP, description=module.DESCRIPTION))
    return top


def _version() -> str:
    import graphk
    return f"graphk {graphk.__version__}"


def _parsed(given: list[str]) -> argparse.Namespace:
    """The arguments; a file may stand behind options that follow other words, where argparse does not look for it."""
    top = parser()
    args, more = top.parse_known_args(given)
    if len(more) == 1 and not more[0].startswith("-") and getattr(args, "file", "") is None:
        args.file, more = more[0], []
    if more:
        top.error(f"unrecognized arguments: {' '.join(more)}")
    return args


def _mention_options(name: str, own: list[str], rest: list[str]) -> None:
    """Say so where what was handed to a script looks like an option of the command."""
    if not rest or not own[-1].endswith(".py"):
        return
    one = argparse.ArgumentParser()
    command(name).arguments(one)
    known = {o for action in one._actions for o in action.option_strings}
    taken = [text for text in rest if text.split("=")[0] in known]
    if taken:
        print(f"graphk {name}: note: {', '.join(taken)} stands behind {own[-1]} and is handed to the script; options "
              f"of `graphk {name}` stand before it", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    try:
        import graphk.frontend.config  # noqa: F401      # which reads GRAPHK_FLAGS, GRAPHK_LOG and graphk.json
    except ValueError as e:
        print(f"graphk: {e}", file=sys.stderr)
        return 2
    from graphk.inspection.commands.common import CommandError, split
    given = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):            # a terminal that has not all characters gets their numbers
        if isinstance(stream, io.TextIOWrapper) and given[:1] != ["run"]:
            stream.reconfigure(errors="backslashreplace")
    own, rest = split(given) if given[:1] and given[0] in OF_SCRIPTS else (given, [])
    args = _parsed(own)
    args.script_arguments = rest
    _mention_options(args.command, own, rest)
    from graphk.inspection.script import ScriptError
    try:
        code: int = command(args.command).run(args)
        if args.command != "run":                  # a script's output is its own
            sys.stdout.flush()
        return code
    except (CommandError, ScriptError) as e:
        print(f"graphk {args.command}: {e}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        if args.command == "run":
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())     # whoever read, as `| head` does, had enough
        return 0
    except OSError as e:
        if e.errno != errno.ENOSPC:
            raise
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())     # what is left is not tried again
        print(f"graphk {args.command}: the output cannot be written: {e.strerror}", file=sys.stderr)
        return 2


__all__ = ["COMMANDS", "command", "main", "parser"]
