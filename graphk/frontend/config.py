"""The settings: the configuration file, and the environment variable that overrides it.

In: `graphk.json` in the folder `$GRAPHK_HOME`, else `~/.graphk`, else (where the home cannot be written) `.graphk` in
the system's temporary folder; then `GRAPHK_FLAGS=device=cpu,floatX=float64,…`, which wins; `GRAPHK_LOG`.  Out: the
values in force, by `get`; `put` changes one for this process.  What always holds: every value is one its setting
allows, an unknown setting, value or topic is refused by name, and a missing file is written with the defaults, as
Keras does.
"""
from __future__ import annotations

import contextlib
import json
import math
import numbers
import os
import re
import warnings
from typing import TYPE_CHECKING, Any, Mapping

if TYPE_CHECKING:
    from pathlib import Path

FILE = "graphk.json"
DEFAULTS: dict[str, Any] = {"floatx": "float32", "epsilon": 1e-7, "backend": "tensorflow",
                            "image_data_format": "channels_last", "device": "auto", "keras_semantics": "2.2",
                            "tf32": False, "nccl": True}
# `backend` is only what K.backend() answers: what graphk computes is what Keras on TensorFlow computes.
LOG_TOPICS = ("passes", "fusion", "recompile", "cache", "library")       # of GRAPHK_LOG
CHOICES: dict[str, tuple[str, ...]] = {
    "floatx": ("float16", "float32", "float64"),
    "backend": ("tensorflow", "graphk"),
    "image_data_format": ("channels_last", "channels_first"),
    "keras_semantics": ("2.2", "2.3"),
}


def keras_semantics() -> str:
    """Which Keras's defaults and formulas hold where they differ: '2.2' (2.2.4) or '2.3' (2.3.1)."""
    return get("keras_semantics")


def get(name: str) -> Any:
    """The value in force of the setting `name`."""
    return _in_force[name]


def put(name: str, value: Any, source: str = "this program") -> None:
    """Set `name` for this process; ValueError naming `source` for an unknown setting or value."""
    _in_force.update(_checked({name: value}, source))


# ------------------------------------------------------------------ checking
def _checked(given: Mapping[str, Any], source: str) -> dict[str, Any]:
    return {_known(name, tuple(DEFAULTS), "setting", source): _value(name, value, source)
            for name, value in given.items()}


def _value(name: str, value: Any, source: str) -> Any:
    if name == "device":                               # `frontend/automatic.py` says what `auto` is
        return "auto" if str(value).strip().lower() == "auto" else device_name(value, source, "'auto', ")
    if isinstance(DEFAULTS[name], bool):
        return _switch(name, value, source)
    if name in CHOICES:
        return _known(value, CHOICES[name], f"value of {name}", source)
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= float(value) < math.inf:
        raise ValueError(f"{source}: unknown value of {name}: {value!r}. Expected a number that is not negative, such "
                         f"as {DEFAULTS[name]}.")
    return float(value)


def _switch(name: str, value: Any, source: str) -> bool:
    text = str(value).strip().lower()
    if text not in ("true", "false"):
        raise ValueError(f"{source}: unknown value of {name}: {value!r}. Expected true or false.")
    return text == "true"


def device_name(value: Any, source: str, also: str = "") -> str:
    """A device's name in one spelling: `cpu`, `gpu:0`, `simulator` (CUDA kernels without a GPU) or `simulator:1`.
    also: what else the error says is allowed."""
    text = str(value).strip().lower()
    if text in ("cpu", "simulator"):
        return text
    found = re.fullmatch(r"simulator:(\d+)", text)
    if found is not None:
        return f"simulator:{int(found[1])}" if int(found[1]) else "simulator"
    found = re.fullmatch(r"(?:gpu|cuda):?(\d*)", text)
    if found is None:
        raise ValueError(f"{source}: unknown value of device: {value!r}. Expected {also}'cpu', 'gpu', or the number "
                         "of a GPU, such as 'gpu:1'.")
    return f"gpu:{int(found[1] or 0)}"


def _known(name: Any, allowed: tuple[str, ...], what: str, source: str) -> str:
    if name in allowed:
        return name
    import difflib
    near = difflib.get_close_matches(str(name), allowed, 1)
    raise ValueError(f"{source}: unknown {what}: {name!r}." + (f" Did you mean {near[0]!r}?" if near else "")
                     + f" Expected {'one of ' if len(allowed) > 1 else ''}{', '.join(map(repr, allowed))}.")


# ------------------------------------------------------------------ the file
def path() -> Path:
    """Where the configuration file is looked for."""
    from pathlib import Path
    return Path(_file())


def _file() -> str:
    named = os.environ.get("GRAPHK_HOME", "").strip()
    if named:
        return os.path.join(os.path.expanduser(named), FILE)
    home = os.path.expanduser("~")                      # stays "~" where there is no home
    if not os.access(home, os.W_OK):
        import tempfile
        home = tempfile.gettempdir()
    return os.path.join(home, ".graphk", FILE)


def _read(file: str) -> dict[str, Any]:
    """The settings of the file, the defaults for those that it does not name."""
    fix = f"Repair {file}, or delete it: graphk then writes it anew."
    try:
        with open(file, encoding="utf-8") as stream:
            given = json.load(stream)
    except (FileNotFoundError, NotADirectoryError):
        return dict(DEFAULTS)
    except PermissionError as e:
        warnings.warn(f"The configuration file {file} cannot be read ({e.strerror}), so the defaults hold. Set "
                      "GRAPHK_HOME to a folder of your own.", stacklevel=2)
        return dict(DEFAULTS)
    except ValueError as e:
        raise ValueError(f"The configuration file {file} is not JSON: {e}. {fix}") from None
    if not isinstance(given, dict):
        raise ValueError(f"The configuration file {file} holds a {type(given).__name__}; expected an object such as "
                         f"{json.dumps(DEFAULTS)}. {fix}")
    return {**DEFAULTS, **_checked(given, f"The configuration file {file}")}


def _write(file: str) -> None:
    """Write the defaults; whoever reads meanwhile finds the whole file or none."""
    part = f"{file}.{os.getpid()}"
    os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
    with open(part, "w", encoding="utf-8") as stream:
        stream.write(json.dumps(DEFAULTS, indent=4) + "\n")
    os.replace(part, file)


# ------------------------------------------------------------------ the environment
def _flags(text: str) -> dict[str, Any]:
    """The settings in `name=value,name=value`; `floatX` is Theano's spelling of `floatx`."""
    given: dict[str, Any] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (part.strip() for part in item.partition("="))
        if not equals:
            raise ValueError(f"GRAPHK_FLAGS: {item!r} has no value. Expected name=value, separated by commas, such as "
                             f"floatX=float64,device=cpu.")
        given["floatx" if name == "floatX" else name] = _number(value) if name == "epsilon" else value
    return _checked(given, "GRAPHK_FLAGS")


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def log_topics(text: str) -> frozenset[str]:
    """The names in `GRAPHK_LOG`; ValueError for one that is unknown."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in LOG_TOPICS]
    if unknown:
        raise ValueError(f"GRAPHK_LOG={text!r}: {unknown[0]!r} is unknown; expected some of {','.join(LOG_TOPICS)}")
    return frozenset(names)


def load() -> dict[str, Any]:
    """The settings as file and environment say now; a missing file is written."""
    file = _file()
    settings = _read(file)
    with contextlib.suppress(OSError):                 # the file only helps to find the settings: nothing needs it
        if not os.path.exists(file):
            _write(file)
    return {**settings, **_flags(os.environ.get("GRAPHK_FLAGS", ""))}


_in_force = load()
log_topics(os.environ.get("GRAPHK_LOG", ""))           # told now, not when the first graph is compiled
