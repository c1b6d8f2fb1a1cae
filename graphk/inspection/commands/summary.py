"""`graphk summary`: the layers of a model, what they compute, and what memory it needs."""
from __future__ import annotations

import argparse

from graphk.inspection.commands.common import CommandError, is_script, model_of, run_it, shown, subject_arguments

HELP = "show layers, shapes, parameters, FLOPs, bytes, and memory for several batch sizes"
DESCRIPTION = ("A table of the layers of a model file, or of each model that a script compiles: output shape, "
               "parameters, multiply-adds, FLOPs and bytes of the compiled graphs at --batch; and what a call needs of "
               "memory. A file of weights alone is a table of these.")


def arguments(p: argparse.ArgumentParser) -> None:
    """What it takes."""
    subject_arguments(p)


def run(args: argparse.Namespace) -> int:
    """Print the tables."""
    if not is_script(args) and not args.weights and (weights := _weights_of(args.file)):
        print(weights)
        return 0
    from graphk.inspection.layers import summary
    dims = {}
    for item in args.dim:
        name, equals, number = item.partition("=")
        if not equals or not number.isdigit():
            raise CommandError(f"--dim {item!r}: expected NAME=N, such as --dim d2=80")
        dims[name] = int(number)
    show = shown(args)
    models = _of_script(args) if is_script(args) else [model_of(args)]
    try:
        print("\n\n".join(str(summary(m, args.batch, dims, args.phase, show)) for m in models))
    except (RuntimeError, ValueError) as e:
        raise CommandError(str(e)) from e
    return 0


def _weights_of(path: str) -> str:
    """The table of a file that holds weights alone; "" for any other, and for one that `model_of` will refuse."""
    from graphk.inspection.stored import stored_weights
    try:
        return str(stored_weights(path) or "")
    except (OSError, ValueError):
        return ""


def _of_script(args: argparse.Namespace) -> list[object]:
    from graphk.inspection.layers import Models
    from graphk.runtime.observed import OBSERVERS
    models = Models()
    OBSERVERS.append(models)
    try:
        run_it(args)
    except SystemExit as e:
        if e.code not in (None, 0):
            raise
    finally:
        OBSERVERS.remove(models)
    if not models.outer():
        raise CommandError("the script compiled no model: graphs are compiled by the first call of fit, evaluate or "
                           "predict; `graphk cost` shows those of K.function")
    return models.outer()
