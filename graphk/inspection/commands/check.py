"""`graphk check FILE`: whether a model file can be read, and all that is wrong with it."""
from __future__ import annotations

import argparse

HELP = "say whether a model file can be read, and all that is wrong with it"
DESCRIPTION = "Look at a model file of any Keras; exits with 1 if graphk cannot read it."


def arguments(p: argparse.ArgumentParser) -> None:
    """What it takes."""
    p.add_argument("file", help="an HDF5 file, a .keras archive, an ONNX file, or an architecture in JSON or YAML")


def run(args: argparse.Namespace) -> int:
    """Print what the file holds."""
    from graphk.inspection import files
    return files.check(args.file)
