"""`graphk run SCRIPT`: a Keras script, as python would run it."""
from __future__ import annotations

import argparse

HELP = "run a script with `import keras` giving graphk"
DESCRIPTION = "Run a script as python would, with `import keras` giving graphk."


def arguments(p: argparse.ArgumentParser) -> None:
    """What it takes."""
    p.add_argument("--tensorflow", action="store_true", help="let `tensorflow.keras` mean graphk, too")
    p.add_argument("script", help="the Python file to run")
    p.add_argument("arguments", nargs=argparse.REMAINDER, help="passed on to the script")


def run(args: argparse.Namespace) -> int:
    """Run it."""
    from graphk.inspection.script import run_script
    run_script(args.script, args.arguments, args.tensorflow)
    return 0
