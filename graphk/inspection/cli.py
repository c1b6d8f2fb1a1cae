"""The command line: `graphk COMMAND` or `python -m graphk COMMAND`.

In: arguments.  Out: an exit code.  What always holds: each command is a module of `graphk.inspection.commands`; scripts
run as python would run them (arguments, path, exit code, traceback); a mistake of the user's is one line and exit code
2.
"""
from __future__ import annotations

import argparse
import importlib
import sys
from typing import Any, Sequence

COMMANDS = (
    "summary",
    "dump",
    "memory",
    "cost",
    "profile",
    "report",
    "check",
    "convert",
    "doctor",
    "cache",
    "run",
)


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


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    from graphk.inspection.commands.common import CommandError, split
    given = list(sys.argv[1:] if argv is None else argv)
    own, rest = (given, []) if given[:1] == ["run"] else split(given)
    args = parser().parse_args(own)
    args.script_arguments = rest
    from graphk.inspection.script import ScriptError
    try:
        code: int = command(args.command).run(args)
        return code
    except (CommandError, ScriptError) as e:
        print(f"graphk {args.command}: {e}", file=sys.stderr)
        return 2


__all__ = ["COMMANDS", "command", "main", "parser"]
