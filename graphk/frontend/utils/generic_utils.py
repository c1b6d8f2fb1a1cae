"""Helpers shared by the front end: custom objects, (de)serialization by name, argument checks, the progress bar.

In: objects, names, configs.  Out: configs, objects.  What always holds: deserializing looks names up in
the table of the family asked for, in the scope's custom objects and in those passed; it imports and
executes nothing else.
"""
from __future__ import annotations

import inspect
import itertools
import re
import sys
import time
import types
import weakref
from functools import lru_cache
from typing import Any, Callable, Iterable, Sequence

import numpy as np

from graphk.frontend.utils.advice import advice

_custom_objects: dict[str, Any] = {}


def get_custom_objects() -> dict[str, Any]:
    """The global table of custom objects; users may add to it."""
    return _custom_objects


class CustomObjectScope:
    """Context manager that makes custom objects known by name while it is open.

    >>> with CustomObjectScope({"twice": lambda x: 2 * x}):
    ...     "twice" in get_custom_objects()
    True
    """

    def __init__(self, *args: dict[str, Any]):
        self.custom_objects = args
        self.backup: dict[str, Any] = {}

    def __enter__(self) -> "CustomObjectScope":
        self.backup = dict(_custom_objects)
        for objects in self.custom_objects:
            _custom_objects.update(objects)
        return self

    def __exit__(self, *_: Any) -> None:
        _custom_objects.clear()
        _custom_objects.update(self.backup)


def custom_object_scope(*args: dict[str, Any]) -> CustomObjectScope:
    """`with custom_object_scope({'MyLayer': MyLayer}): …`"""
    return CustomObjectScope(*args)


# ------------------------------------------------------------------ (de)serialization
def serialize_keras_object(instance: Any) -> Any:
    """A config `{class_name, config}`, or the name of a function; None for None."""
    if instance is None:
        return None
    if hasattr(instance, "get_config"):
        return {"class_name": instance.__class__.__name__, "config": instance.get_config()}
    if hasattr(instance, "__name__"):
        return instance.__name__
    raise ValueError(f"Cannot serialize {instance!r}: it has neither get_config() nor a name.")


def deserialize_keras_object(identifier: Any, module_objects: dict[str, Any] | None = None,
                             custom_objects: dict[str, Any] | None = None,
                             printable_module_name: str = "object") -> Any:
    """The object that a config or a name stands for; ValueError if it is unknown."""
    if isinstance(identifier, dict):
        return _from_dict(identifier, module_objects or {}, custom_objects, printable_module_name)
    if isinstance(identifier, str):
        found = lookup(identifier, module_objects or {}, custom_objects)
        if found is None:
            raise ValueError("Unknown " + printable_module_name + ":" + identifier
                             + _known(identifier, module_objects, custom_objects))
        return found
    raise ValueError("Could not interpret serialized " + printable_module_name + ": " + str(identifier))


def lookup(name: str, module_objects: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
    """What `name` means: first in the objects passed, then in the open scopes, then in the family's table."""
    for table in (custom_objects or {}, _custom_objects, module_objects):
        if name in table:
            return table[name]
    return None


def _known(name: Any, *tables: dict[str, Any] | None) -> str:
    """The end of the error about an unknown name."""
    known = {k for table in (*tables, _custom_objects) for k in table or {}}
    return advice(name, known) + " An object of your own must be passed in custom_objects, or be put into a " \
        "CustomObjectScope."


def _from_dict(config: dict[str, Any], module_objects: dict[str, Any], custom_objects: dict[str, Any] | None,
               what: str) -> Any:
    if "class_name" not in config or "config" not in config:
        raise ValueError(f"Improper config format: {str(config)[:200]}. Expected a dict with the keys `class_name` and "
                         f"`config`, as serialize() gives for a {what}.")
    cls = lookup(config["class_name"], module_objects, custom_objects)
    if cls is None:
        raise ValueError("Unknown " + what + ": " + str(config["class_name"])
                         + _known(config["class_name"], module_objects, custom_objects))
    if not hasattr(cls, "from_config"):
        with CustomObjectScope(custom_objects or {}):
            return cls(**config["config"])
    if has_arg(cls.from_config, "custom_objects"):
        return cls.from_config(config["config"], custom_objects={**_custom_objects, **(custom_objects or {})})
    with CustomObjectScope(custom_objects or {}):
        return cls.from_config(config["config"])


def config_of(cls: type, config: Any, *needed: str) -> dict[str, Any]:
    """A copy of `config`, for the `from_config` of `cls`; an error that names the class and the keys that are missing.

    >>> config_of(dict, {"layer": 1}, "layer")
    {'layer': 1}
    """
    what = f"{cls.__name__}.from_config takes the dict that `get_config()` of a {cls.__name__} returns"
    if not isinstance(config, dict):
        raise TypeError(f"{what}; received {config!r:.200}, a {type(config).__name__}.")
    missing = [key for key in needed if key not in config]
    if missing:
        raise ValueError(f"{what}; received one with the keys {sorted(map(str, config))}, without "
                         f"{', '.join(map(repr, missing))}.")
    return dict(config)


def get_from_module(identifier: Any, module_params: dict[str, Any], module_name: str, instantiate: bool = False,
                    kwargs: dict[str, Any] | None = None) -> Any:
    """Keras 1's look-up: what a name, or a dict with `name` and arguments, means among `module_params`; anything else
    is itself.

    >>> get_from_module("two", {"two": 2}, "number")
    2
    """
    given = dict(kwargs or {})
    name = identifier
    if isinstance(identifier, dict):
        name = identifier.get("name")
        given.update((k, v) for k, v in identifier.items() if k != "name")
        instantiate = True
    if not isinstance(name, str):
        return identifier
    if name not in module_params:
        raise ValueError(f"Invalid {module_name}: {name}" + advice(name, module_params))
    return module_params[name](**given) if instantiate else module_params[name]


class FunctionName(str):
    """The name of a function, which is what files hold of a config, and the function itself."""

    function: Any

    def __copy__(self) -> "FunctionName":
        return self

    def __deepcopy__(self, memo: Any) -> "FunctionName":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)


def func_dump(func: Callable[..., Any]) -> tuple[FunctionName, tuple[Any, ...] | None, tuple[Any, ...] | None]:
    """Code, defaults and closure of a function, for `func_load` in this process: what a file keeps of the code is the
    function's name."""
    code = FunctionName(func.__name__)
    code.function = func
    cells = getattr(func, "__closure__", None)
    return code, getattr(func, "__defaults__", None), tuple(c.cell_contents for c in cells) if cells else None


def func_load(code: Any, defaults: Any = None, closure: Any = None, globs: Any = None) -> Any:
    """The function that `func_dump` took apart; NotImplementedError for byte code, which would execute code of a file.

    >>> func_load(func_dump(lambda x, y=2: x * y))(3)
    6
    """
    if isinstance(code, (list, tuple)):
        code, defaults, closure = code
    if not isinstance(code, FunctionName):
        raise NotImplementedError(f"func_load takes what func_dump gave in this process; received {str(code)[:60]!r}. "
                                  "graphk executes no code from files: pass the function through custom_objects.")
    func = code.function
    cells = tuple(c if isinstance(c, types.CellType) else types.CellType(c) for c in closure or ()) or None
    return types.FunctionType(func.__code__, globs or func.__globals__, func.__name__,
                              tuple(defaults) if defaults is not None else None, cells)


# ------------------------------------------------------------------ arguments and lists
@lru_cache(maxsize=1024)
def _parameters(fn: Callable[..., Any]) -> tuple[frozenset[str], bool]:
    ps = inspect.signature(fn).parameters.values()
    names = frozenset(p.name for p in ps if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
    return names, any(p.kind == p.VAR_KEYWORD for p in ps)


def has_arg(fn: Callable[..., Any], name: str, accept_all: bool = False) -> bool:
    """Whether `fn` takes an argument `name` (or, with `accept_all`, any keyword)."""
    call = None if isinstance(fn, type) or not callable(fn) else type(fn).__call__       # objects: asked once a class
    try:
        names, any_keyword = _parameters(call if isinstance(call, types.FunctionType) else getattr(fn, "__func__", fn))
    except (TypeError, ValueError):
        return False
    return name in names or (accept_all and any_keyword)


def to_list(x: Any, allow_tuple: bool = False) -> list[Any]:
    """`x` if it is a list, else `[x]`."""
    if isinstance(x, list):
        return x
    if allow_tuple and isinstance(x, tuple):
        return list(x)
    return [x]


def unpack_singleton(x: Any) -> Any:
    """The only element of a list of one, else `x`."""
    return x[0] if len(x) == 1 else x


_numbers: "weakref.WeakKeyDictionary[Any, int]" = weakref.WeakKeyDictionary()
_count = itertools.count(1)


def _number(x: Any) -> str:
    """No other object's, now or later: `id` is given again once an object is gone."""
    kind: Any = type(x)
    if kind.__eq__ is object.__eq__ and kind.__weakrefoffset__:
        return str(_numbers.get(x) or _numbers.setdefault(x, next(_count)))
    return f"id {id(x)}"


def object_list_uid(object_list: Any) -> str:
    """A key for a list of objects, by identity."""
    return ", ".join(_number(x) for x in to_list(object_list))


def is_all_none(iterable_or_element: Any) -> bool:
    """Whether everything in a list (or one element) is None."""
    return all(x is None for x in to_list(iterable_or_element, allow_tuple=True))


def check_for_unexpected_keys(name: str, input_dict: dict[str, Any], expected_values: Sequence[str]) -> None:
    """ValueError if `input_dict`, the argument `name`, has a key that is not among `expected_values`."""
    for key in input_dict:
        if key not in expected_values:
            raise ValueError(f'Unknown entry in {name} dictionary: "{key}". Only expected the following keys: '
                             f"{list(expected_values)}{advice(key, expected_values, None)}")


def to_snake_case(name: str) -> str:
    """`MaxPooling2D` -> `max_pooling2d`."""
    s = re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z0-9]+)", r"\1_\2", name)).lower()
    return "private" + s if s[0] == "_" else s


def slice_arrays(arrays: Any, start: Any = None, stop: int | None = None) -> Any:
    """Samples `start:stop`, or those listed in `start`, of an array or of each array of a list."""
    if arrays is None:
        return [None]
    if isinstance(start, list) and stop is not None:
        raise ValueError("The stop argument has to be None if the value of start is a list.")

    def cut(x: Any) -> Any:
        if x is None:
            return None
        if hasattr(start, "__len__"):
            return x[start.tolist() if hasattr(start, "shape") and not isinstance(x, np.ndarray) else start]
        return x[start:stop]
    return [cut(x) for x in arrays] if isinstance(arrays, list) else cut(arrays)


def transpose_shape(shape: Sequence[Any], target_format: str, spatial_axes: Sequence[int]) -> Any:
    """A shape given channels first put into `target_format`; `spatial_axes` are those of the result."""
    if target_format == "channels_first":
        out = tuple(shape[:spatial_axes[0]]) + (shape[-1],) + tuple(shape[i] for i in spatial_axes)
        return out if isinstance(shape, tuple) else list(out)
    if target_format == "channels_last":
        return shape
    raise ValueError('The `data_format` argument must be one of "channels_first", "channels_last". Received: '
                     + str(target_format))


# ------------------------------------------------------------------ progress bar
class Progbar:
    """A progress bar on standard output.

    target: number of steps, None if unknown; verbose: 1 bar, 2 one line at the end, 0 nothing;
    stateful_metrics: names shown as they are; others are shown as averages weighted by steps.

    >>> bar = Progbar(2, verbose=0); bar.update(2, [("loss", .5)])
    """

    def __init__(self, target: int | None, width: int = 30, verbose: int = 1, interval: float = 0.05,
                 stateful_metrics: Iterable[str] | None = None):
        self.target, self.width, self.verbose, self.interval = target, width, verbose, interval
        self.stateful_metrics = set(stateful_metrics or [])
        self._values: dict[str, Any] = {}
        self._start = time.time()
        self._last_update = 0.0
        self._seen_so_far = 0
        self._total_width = 0
        out = sys.stdout
        self._dynamic_display = (hasattr(out, "isatty") and out.isatty()) or "ipykernel" in sys.modules

    def update(self, current: int, values: Sequence[tuple[str, Any]] | None = None, force: bool = False) -> None:
        """Show step `current`; `values` are (name, value) pairs; force: even if the last one was shown just now."""
        for name, value in values or []:
            if name in self.stateful_metrics:
                self._values[name] = [value, 1]
            else:
                n = current - self._seen_so_far
                total = self._values.setdefault(name, [0, 0])
                total[0] += value * n
                total[1] += n
        self._seen_so_far = current
        done = self.target is not None and current >= self.target
        if self.verbose == 1:
            self._show_bar(current, done, force)
        elif self.verbose == 2 and (self.target is None or done):
            self._write(f" - {time.time() - self._start:.0f}s{self._metrics_text()}\n")

    def add(self, n: int, values: Sequence[tuple[str, Any]] | None = None) -> None:
        """Advance by `n` steps."""
        self.update(self._seen_so_far + n, values)

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    def _show_bar(self, current: int, done: bool, force: bool) -> None:
        now = time.time()
        if now - self._last_update < self.interval and not done and not force:
            return
        previous = self._total_width
        text = self._bar(current) + self._eta(current, now, done) + self._metrics_text()
        self._total_width = len(text)
        if self._dynamic_display:
            line = "\r" + text.ljust(previous)           # over what is there
        else:
            line = ("\n" if previous else "") + text
        self._write(line + ("\n" if done else ""))
        self._last_update = now

    def _bar(self, current: int) -> str:
        if self.target is None:
            return "%7d/Unknown" % current
        digits = int(np.floor(np.log10(max(self.target, 1)))) + 1
        width = int(self.width * current / max(self.target, 1))
        bar = "=" * (width - 1) + (">" if current < self.target else "=") if width > 0 else ""
        return "%*d/%d [" % (digits, current, self.target) + bar + "." * (self.width - width) + "]"

    def _eta(self, current: int, now: float, done: bool) -> str:
        elapsed = now - self._start
        per = elapsed / current if current else 0
        if self.target is not None and not done:
            eta = int(per * (self.target - current))
            text = "%d:%02d:%02d" % (eta // 3600, eta % 3600 // 60, eta % 60) if eta > 3600 else \
                "%d:%02d" % (eta // 60, eta % 60) if eta > 60 else "%ds" % eta
            return " - ETA: " + text
        each = " %.0fs/step" % per if per >= 1 else " %.0fms/step" % (per * 1e3) if per >= 1e-3 \
            else " %.0fus/step" % (per * 1e6)
        return " - %.0fs" % elapsed + each

    def _metrics_text(self) -> str:
        out = ""
        for name, v in self._values.items():
            mean = np.mean(v[0] / max(1, v[1]))
            out += " - %s:" % name + (" %.4f" % mean if abs(mean) > 1e-3 else " %.4e" % mean)
        return out
