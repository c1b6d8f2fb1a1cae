"""`dataclass`, `field` and `replace` as the standard library has them, made in a tenth of the time.

In: a class with annotated fields.  Out: a class with `__init__`, `__repr__`, and, by value, `__eq__` and `__hash__`.
What always holds: the options and their meaning are the standard library's (which type checkers are shown); a frozen
record refuses assignment; records are compared and hashed by all fields that are not `compare=False`.

The standard library compiles up to nine functions per class from text; for the fifty records of a compiler that is a
tenth of a start.  Here only `__init__` is text: the rest is the same few functions around the fields' values.  (What
decides a kernel's bytes in `codegen` stays with the standard library: the keys of the cache need cover nothing else.)
"""
from __future__ import annotations

from dataclasses import MISSING, Field, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from dataclasses import dataclass, replace
else:
    def dataclass(cls: type | None = None, *, frozen: bool = False, slots: bool = False, eq: bool = True) -> Any:
        """A decorator, with or without options."""
        if cls is None:
            return lambda cls: _made(cls, frozen, slots, eq)
        return _made(cls, frozen, slots, eq)

    def replace(record: Any, /, **changes: Any) -> Any:
        """A copy with other values of some fields."""
        for f in record.__record_fields__:
            if f.init:
                changes.setdefault(f.name, getattr(record, f.name))
        return type(record)(**changes)


def _made(cls: type, frozen: bool, slots: bool, eq: bool) -> type:
    own = dict(cls.__dict__)
    fields = [_field(name, own.get(name, MISSING)) for name in own.get("__annotations__", ())]
    scope: dict[str, Any] = {}
    own.update(__init__=_init(fields, slots, "__post_init__" in own, scope), __record_fields__=fields)
    own.setdefault("__repr__", _repr([f.name for f in fields if f.repr]))
    if eq:
        compared = [f.name for f in fields if f.compare]
        own.update(_by_value(attrgetter(*compared) if compared else _values([]), frozen, own))
    if frozen:
        own.update(__setattr__=_refuse, __delattr__=_refuse)
    for name in ("__dict__", "__weakref__"):
        own.pop(name, None)
    for f in fields:
        if slots or f.default is MISSING:
            own.pop(f.name, None)
        else:
            own[f.name] = f.default
    if slots:
        own.update(__slots__=tuple(f.name for f in fields), __getstate__=_state, __setstate__=_set_state)
    made = type(cls)(cls.__name__, cls.__bases__, own)
    made.__qualname__ = cls.__qualname__
    scope.update({f"_set_{name}": getattr(made, name).__set__ for name in own.get("__slots__", ())})
    return made


def _state(self: Any) -> tuple[Any, ...]:
    """With `_set_state`, what copies and pickles of frozen records need."""
    return tuple(getattr(self, f.name) for f in self.__record_fields__)


def _set_state(self: Any, state: tuple[Any, ...]) -> None:
    for f, value in zip(self.__record_fields__, state):
        object.__setattr__(self, f.name, value)


def _repr(names: list[str]) -> Callable[[Any], str]:
    values = _values(names)
    return lambda self: f"{type(self).__qualname__}(" + ", ".join(
        f"{name}={value!r}" for name, value in zip(names, values(self))) + ")"


def _field(name: str, default: Any) -> Any:
    out = default if isinstance(default, Field) else field(default=default)
    out.name = name
    return out


def _values(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    if len(names) > 1:
        return attrgetter(*names)
    return (lambda self: (getattr(self, names[0]),)) if names else lambda self: ()


def _by_value(values: Callable[[Any], Any], frozen: bool, own: dict[str, Any]) -> dict[str, Any]:
    def __eq__(self: Any, other: object) -> Any:
        if self is other:
            return True
        return values(self) == values(other) if type(other) is type(self) else NotImplemented

    def __hash__(self: Any) -> int:
        return hash(values(self))
    out: dict[str, Any] = {} if "__eq__" in own else {"__eq__": __eq__}
    if own.get("__hash__") is None:
        out["__hash__"] = __hash__ if frozen else None
    return out


def _refuse(self: Any, name: str, value: Any = None) -> None:
    from dataclasses import FrozenInstanceError
    raise FrozenInstanceError(f"cannot change the field `{name}` of a {type(self).__name__}: it is immutable; "
                              "use `replace`, which makes another one")


def _init(fields: list[Any], slots: bool, checks: bool, scope: dict[str, Any]) -> Any:
    """`__init__`, whose parameters are the fields; `scope` has, as `_set_x`, what fills the slot x."""
    params, lines = [], [] if slots else ["_dict = self.__dict__"]
    for f in fields:
        value = f.name
        if f.default_factory is not MISSING:
            scope.update({"_missing": MISSING, f"_new_{f.name}": f.default_factory})
            value = f"_new_{f.name}()" + (f" if {f.name} is _missing else {f.name}" if f.init else "")
        elif f.default is not MISSING:
            scope[f"_default_{f.name}"] = f.default
            value = f.name if f.init else f"_default_{f.name}"
        elif not f.init:
            continue                                            # `__post_init__` gives it
        if f.init:
            default = "_missing" if f.default_factory is not MISSING else f"_default_{f.name}"
            params.append(f.name if value == f.name and f.default is MISSING else f"{f.name}={default}")
        lines.append(f"_set_{f.name}(self, {value})" if slots else f"_dict[{f.name!r}] = {value}")
    lines += ["self.__post_init__()"] if checks else []
    exec(f"def __init__(self, {', '.join(params)}):\n " + "\n ".join(lines or ["pass"]), scope)
    return scope["__init__"]


__all__ = ["dataclass", "field", "replace"]
