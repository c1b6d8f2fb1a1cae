"""`graphk summary`: the layers of a model, what they compute, and what memory it needs."""
from __future__ import annotations

import argparse
import sys
from typing import Any, Sequence

from graphk.inspection.commands.common import CommandError, is_script, model_of, run_it, shown, subject_arguments

HELP = "show layers, shapes, parameters, FLOPs, bytes, and memory for several batch sizes"
DESCRIPTION = ("A table of the layers of a model file, or of each model that a script compiles: output shape, "
               "parameters, multiply-adds, FLOPs and bytes of the compiled graphs at --batch; and what a call needs of "
               "memory. A file of weights alone is a table of these.")


def arguments(p: argparse.ArgumentParser) -> None:
    """What it takes."""
    subject_arguments(p)
    p.add_argument("--layer", metavar="NAME", help="one layer instead: what it is made with, what it reads and who "
                   "reads it, and its weights' shapes and values; of a model inside, MODEL/LAYER")


def run(args: argparse.Namespace) -> int:
    """Print the tables."""
    if not is_script(args) and not args.weights and not args.layer and (weights := _weights_of(args.file)):
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
        if args.layer:
            print(_card(models, args.layer))
            if not is_script(args) and args.file.lower().endswith((".json", ".yaml", ".yml")) and not args.weights:
                print(f"graphk summary: note: {args.file} holds no weights; their values are first ones, drawn now "
                      "(--weights FILE gives others)", file=sys.stderr)
            return 0
        print("\n\n".join(str(summary(m, args.batch, dims, args.phase, show)) for m in models))
    except (RuntimeError, ValueError) as e:
        raise CommandError(str(e)) from e
    return 0


def _card(models: Sequence[Any], name: str) -> str:
    """Of the models that have such a layer; ValueError where none has."""
    from graphk.inspection.layer_card import layer_card
    cards, failure = [], None
    for m in models:
        try:
            cards.append(str(layer_card(m, name)))
        except ValueError as e:
            failure = failure or e
    if not cards and failure:
        raise failure
    return "\n\n".join(dict.fromkeys(cards))


def _weights_of(path: str) -> str:
    """The table of a file that holds weights alone; "" for any other, and for one that `model_of` will refuse."""
    from graphk.inspection.stored import stored_weights
    try:
        return str(stored_weights(path) or "")
    except (OSError, ValueError):
        return ""


def _of_script(args: argparse.Namespace) -> list[Any]:
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
