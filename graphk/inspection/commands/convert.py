"""`graphk convert FILE OUT`: a model file in another format."""
from __future__ import annotations

import argparse
import sys

HELP = "write a model file in another format"
DESCRIPTION = ("Read a model file of any Keras and write it in the format that the second name's ending says: .h5 "
               "(Keras 2), .keras (Keras 3), .weights.h5, .json, .yaml, .onnx or .safetensors.")


def arguments(p: argparse.ArgumentParser) -> None:
    """What it takes."""
    p.add_argument("file", help="what `check` reads")
    p.add_argument("out", help="the file to write")
    p.add_argument("--weights", metavar="FILE", help="weights for the model: HDF5 or .safetensors")


def run(args: argparse.Namespace) -> int:
    """Write the other file."""
    from graphk.inspection import files
    try:
        files.convert(args.file, args.out, args.weights)
    except ValueError as e:
        print(f"graphk convert: {e}", file=sys.stderr)
        return 1
    return 0
