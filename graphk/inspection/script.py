"""Running a script as `python script.py` would, with `keras` meaning graphk.

In: a script's path and its arguments.  Out: whatever the script does.  What always holds: `sys.argv`, `sys.path[0]` and
`__main__` are what python would make them; tracebacks show the script's frames only; the exit code is the script's.
"""
from __future__ import annotations

import importlib.machinery
import io
import os
import sys
from types import ModuleType, TracebackType
from typing import Any, Sequence


class ScriptError(Exception):
    """The script cannot be started."""


def run_script(path: str, arguments: Sequence[str] = (), tensorflow: bool = False) -> None:
    """Run `path` as `__main__`; what it raises is raised, after its traceback has been printed.

    tensorflow: `tensorflow.keras` means graphk, too.
    """
    from graphk.frontend.compat import install_as_keras
    source = _read(path)
    before = set(sys.path)
    install_as_keras(tensorflow)
    added = [p for p in sys.path if p not in before]       # other programs that the script starts find graphk there
    os.environ["PYTHONPATH"] = os.pathsep.join([*added, *filter(None, [os.environ.get("PYTHONPATH")])])
    module = _main_module(path)
    sys.argv = [path, *arguments]
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0:1] = [os.path.dirname(os.path.realpath(path))]
    sys.modules["__main__"] = module
    try:
        exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)
    except SystemExit:
        raise
    except BaseException as error:
        shown = error.with_traceback(_own_frames(error.__traceback__))
        sys.excepthook(type(shown), shown, shown.__traceback__)
        sys.excepthook = _printed
        raise


def _read(path: str) -> bytes:
    try:
        with io.open_code(os.path.abspath(path)) as f:
            source = f.read()
    except OSError as e:
        raise ScriptError(f"cannot open the script {path!r}: {e.strerror}; expected the path of a Python file") from e
    if b"\0" in source:
        raise ScriptError(f"{path!r} is no script: it holds bytes that no text has; expected the path of a Python file")
    return source


def _main_module(path: str) -> ModuleType:
    module: Any = ModuleType("__main__")
    module.__file__ = path
    module.__loader__ = importlib.machinery.SourceFileLoader("__main__", path)
    module.__builtins__ = sys.modules["builtins"]
    module.__cached__ = None
    return module


def _own_frames(tb: TracebackType | None) -> TracebackType | None:
    """The traceback without the frame of `run_script`."""
    return tb.tb_next if tb is not None else None


def _printed(*_: Any) -> None:
    """The excepthook once the traceback has been printed: python still sets the exit code."""


__all__ = ["ScriptError", "run_script"]
