"""`graphk export`: a model as a C library that needs no Python."""
from __future__ import annotations

import argparse
import os

from graphk.inspection.commands.common import CommandError, model_of

HELP = "write a model as a C library: kernels, header, example; no Python at run time"
DESCRIPTION = ("Compile a model's prediction ahead of time: a shared library with its weights, a C header, the driver "
               "in C, the kernels' object files and an example. Linking takes a C compiler; without one, and for "
               "another architecture, everything but the library is written.")


def arguments(p: argparse.ArgumentParser) -> None:
    """What it takes."""
    p.add_argument("file", help="a model file (.h5, .keras, .json, .yaml, .onnx)")
    p.add_argument("-o", "--out", required=True, metavar="DIR", help="the folder to make")
    p.add_argument("--weights", metavar="FILE", help="weights for a model file that has none: HDF5 or .safetensors")
    p.add_argument("--batch", default="1", metavar="N,N", help="the batch sizes that the library knows (1)")
    p.add_argument("--dim", action="append", default=[], metavar="NAME=N", help="the value of another open size")
    p.add_argument("--name", help="of the library and its functions (the file's)")
    p.add_argument("--cpu", "--target", default="host", help="host, scalar, sse, avx2, avx512, or LLVM's name of one "
                                                             "(host)")
    p.add_argument("--triple", default="", help="of the machine it will run on, such as aarch64-linux-gnu (this one)")
    p.add_argument("--cc", metavar="COMPILER", help="the C compiler to link with (cc, gcc or clang)")


def run(args: argparse.Namespace) -> int:
    """Write the folder."""
    from graphk.inspection import export
    batches = args.batch.split(",")
    if not all(b.isdigit() and int(b) > 0 for b in batches):
        raise CommandError(f"--batch {args.batch!r}: expected numbers of samples, such as 1,8")
    dims = dict(item.partition("=")[::2] for item in args.dim)
    if not all(v.isdigit() for v in dims.values()):
        raise CommandError(f"--dim {' '.join(args.dim)!r}: expected NAME=N")
    name = args.name or os.path.splitext(os.path.basename(args.file))[0]
    try:
        made = export(model_of(args), args.out, name=name, batches=[int(b) for b in batches],
                      dims={k: int(v) for k, v in dims.items()}, cpu=args.cpu, triple=args.triple, compiler=args.cc)
    except OSError as e:
        raise CommandError(f"-o {args.out}: {e.strerror}; expected a folder that can be made") from e
    except (ValueError, RuntimeError) as e:
        raise CommandError(str(e)) from e
    print(made)
    return 0
