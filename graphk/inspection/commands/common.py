"""What most commands take: a model file or a script, a learning phase, sizes.

In: parsed arguments.  Out: the compiled graphs that they mean.  What always holds: a model is only read and compiled,
not run; a script runs as `python script.py` would, with `keras` meaning graphk, and what it compiled is what is shown.
"""
from __future__ import annotations

import argparse
import contextlib
import math
import sys
from typing import TYPE_CHECKING, Any, Callable, Iterator, Sequence

if TYPE_CHECKING:
    from graphk.inspection.subjects import Subject

PHASES = ("train", "test", "predict")


class CommandError(Exception):
    """What the user has to change, in one line."""


def target_arguments(p: argparse.ArgumentParser, what: str) -> None:
    """For whom: the one way in which commands are told."""
    p.add_argument("--target", metavar="NAME", help=f"{what}: cpu (this one), cuda, scalar, sse, avx2, avx512, or "
                   "LLVM's name of a processor; if left out, the device that runs it")
    p.add_argument("--capability", default="9.0", metavar="M.N", help="compute capability of the GPU, for cuda (9.0)")


def subject_arguments(p: argparse.ArgumentParser) -> None:
    """A file or a script, which of its graphs at which sizes, and for whom."""
    p.add_argument("file", nargs="?", help="a model file (.h5, .keras, .json, .yaml, .onnx), or a Python script (.py), "
                                           "to which what follows is passed on")
    p.add_argument("--script", metavar="FILE", help="a Python script, whatever its name ends in; it gets what follows "
                                                    "behind --")
    p.add_argument("--weights", metavar="FILE", help="weights for a model file that has none: HDF5 or .safetensors")
    p.add_argument("--phase", type=_phase, metavar="{train,test,predict}", help="only this graph (a file without an "
                   "optimizer has predict alone); of a script with several models predict.2, as the tables name them")
    p.add_argument("--batch", type=_positive, default=32, metavar="N", help="samples of a call (32)")
    p.add_argument("--dim", action="append", default=[], metavar="NAME=N",
                   help="the value of another open size, such as a number of time steps")
    target_arguments(p, "for whom")


def shown(args: argparse.Namespace) -> Callable[[Subject], Subject]:
    """What makes of each subject the same for `--target`; CommandError where that names nothing."""
    major, dot, minor = args.capability.partition(".")
    if not (major.isdigit() and minor.isdigit()):
        raise CommandError(f"--capability {args.capability!r}: expected a number such as 9.0")
    if args.target not in (None, "cpu", "cuda"):
        from graphk.codegen.other_cpu import cpu_target
        try:
            cpu_target(args.target)
        except ValueError as e:
            raise CommandError(f"--target {args.target}: {e}") from e
    return lambda s: s.on(args.target, (int(major), int(minor)))


def same_for_all(args: argparse.Namespace, what: str) -> None:
    """Tell who named a target that it makes no difference."""
    shown(args)
    if args.target is not None:
        print(f"graphk {args.command}: note: {what} the same for every target", file=sys.stderr)


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command's own arguments, and those of a script: what follows its name, or `--`."""
    for i, text in enumerate(argv):
        if text == "--":
            return list(argv[:i]), list(argv[i + 1:])
        if text.endswith(".py") and not text.startswith("-") and argv[i - 1] not in ("--script", "--out", "-o"):
            return list(argv[:i + 1]), list(argv[i + 1:])
    return list(argv), []


def _phase(text: str) -> str:
    name, dot, number = text.partition(".")
    if name not in PHASES or dot and not number.isdigit():
        raise argparse.ArgumentTypeError(f"invalid choice: {text!r} (choose from {', '.join(map(repr, PHASES))}, or "
                                         "one with a number, such as 'predict.2')")
    return text


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) < 1 << 31:
        raise argparse.ArgumentTypeError(f"received {text!r}, expected a whole number, 1 or more (below 2**31)")
    return int(text)


def sizes(args: argparse.Namespace, subject: Subject) -> dict[str, int]:
    """A value for each open size of a graph: `--batch`, `--dim`, else what `dims_for` takes."""
    from graphk.inspection.subjects import dims_for
    out = {}
    for item in args.dim:
        name, equals, number = item.partition("=")
        if not equals or not number.isdigit():
            raise CommandError(f"--dim {item!r}: expected NAME=N, such as --dim d2=80")
        if name not in subject.program.dims:
            raise CommandError(f"--dim {item}: {subject.title} has no size {name}; it has "
                               f"{', '.join(subject.program.dims) or 'none'}")
        out[name] = int(number)
    return dims_for(subject.program, args.batch, out)


def called(args: argparse.Namespace) -> list[tuple[Subject, dict[str, int]]]:
    """The graphs that the arguments mean, each with sizes: a script's largest of its own calls, else `sizes`."""
    def of(s: Subject) -> dict[str, int]:
        own = s.executable.sizes if is_script(args) and not args.dim else []
        return max(own, key=lambda env: math.prod(env.values())) if own else sizes(args, s)
    return [(s, of(s)) for s in subjects(args)]


def top_argument(p: argparse.ArgumentParser) -> None:
    """How many rows of a table."""
    p.add_argument("--top", type=_positive, default=30, metavar="N", help="rows of each table (30)")


def is_script(args: argparse.Namespace) -> bool:
    """Whether a script is meant."""
    if bool(args.script) == bool(args.file):
        raise CommandError("expected one of a model file and --script FILE")
    return bool(args.script) or args.file.endswith(".py")


def run_it(args: argparse.Namespace) -> None:
    """Run the script that is meant."""
    from graphk.inspection.script import run_script
    run_script(args.script or args.file, args.script_arguments)


def subjects(args: argparse.Namespace, model: Any = None) -> list[Subject]:
    """The graphs that the arguments mean, of a file's `model` if it is read already, for their target; CommandError
    where none is."""
    show = shown(args)
    found = [show(s) for s in (_of_script(args) if is_script(args) else _of_model(model or model_of(args)))]
    from graphk.inspection.subjects import matching
    chosen = matching(found, args.phase)
    if not chosen:
        have = ", ".join(dict.fromkeys(s.title for s in found)) or "none at all"
        why = "" if is_script(args) or args.phase == "predict" else \
            " (a file without optimizer and loss has nothing to train or test: compile the model before it is saved)"
        raise CommandError(f"there is no graph of the phase {args.phase}: found {have}{why}" if found else
                           "the script compiled no graph: graphs are compiled by the first call of fit, evaluate, "
                           "predict or a K.function")
    return chosen


def model_of(args: argparse.Namespace) -> Any:
    """The model in a file; CommandError where there is none that can be read."""
    from graphk.inspection.files import WeightsOnly, read_model, told
    try:
        return read_model(args.file, args.weights)
    except WeightsOnly as e:
        raise CommandError(str(e)) from e
    except (OSError, ValueError, TypeError, KeyError, ImportError) as e:
        raise CommandError(told(args.file, e)) from e


def _of_model(model: Any) -> list[Subject]:
    from graphk.inspection.subjects import subjects_of
    try:
        return subjects_of(model)
    except RuntimeError as e:
        raise CommandError(str(e)) from e


class Collector:
    """Keeps what is compiled while it is registered in `graphk.runtime.observed.OBSERVERS`."""

    def __init__(self) -> None:
        self.found: list[Subject] = []
        self._phase = 0

    def __call__(self, graph: Any, phase: int) -> Collector:
        self._phase = phase
        return self

    def passed(self, record: Any) -> None:
        """Records are kept by the executable."""

    def failed(self, error: BaseException) -> None:
        """What did not compile is told by the script."""

    def finished(self, executable: Any) -> None:
        from graphk.inspection.subjects import PHASES, subject_of
        self.found.append(subject_of(executable.program.name, PHASES[self._phase], executable))


@contextlib.contextmanager
def observed(observer: Any) -> Iterator[None]:
    """Have an observer see what is compiled meanwhile."""
    from graphk.runtime.observed import OBSERVERS
    OBSERVERS.append(observer)
    try:
        yield
    finally:
        OBSERVERS.remove(observer)


def _of_script(args: argparse.Namespace) -> list[Subject]:
    collector = Collector()
    try:
        with observed(collector):
            run_it(args)
    except SystemExit as e:
        if e.code not in (None, 0):
            raise
    from graphk.inspection.subjects import numbered
    return numbered(collector.found)


__all__ = ["CommandError", "Collector", "PHASES", "called", "is_script", "model_of", "observed", "run_it",
           "same_for_all", "shown", "sizes", "split", "subject_arguments", "subjects",
           "target_arguments", "top_argument"]
