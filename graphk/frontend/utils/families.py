"""Families of named objects: losses, metrics, constraints, regularizers, initializers.

In: a name, config or object that a user passed.  Out: the object it stands for, or an error.  What always holds: an
error about an unknown name ends with the nearest known one, or with all of them.
"""
from __future__ import annotations

from types import MappingProxyType
from typing import Any, Iterable, Mapping

from graphk.frontend.utils import generic_utils
from graphk.frontend.utils.advice import advice
from graphk.frontend.utils.origin import module_of


def members(table: Mapping[str, Any], module: Mapping[str, Any]) -> dict[str, Any]:
    """`table`, and what a program has put into the module with these globals: `keras.losses.mine = mine`."""
    return {**table, **{k: v for k, v in module.items() if table.get(k) is not v and callable(v) and not k.startswith(
        "_") and module_of(v).partition(".")[0] not in ("graphk", "typing", "collections")}}


class Family:
    """Objects known by name.  what: what error messages call a member; own: members by name; module: the globals of
    their module; factories: functions that make a member when called without arguments, as classes do.

    >>> Family("number", {"two": 2}).get("two")
    2
    """

    def __init__(self, what: str, own: Mapping[str, Any], module: Mapping[str, Any] = MappingProxyType({}),
                 factories: Iterable[Any] = ()):
        self.what, self.own, self.module, self.factories = what, own, module, tuple(factories)

    @property
    def table(self) -> dict[str, Any]:
        """All members by name."""
        return members(self.own, self.module)

    def serialize(self, member: Any) -> Any:
        """The name or config of a member."""
        return generic_utils.serialize_keras_object(member)

    def deserialize(self, config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
        """What a config or a name stands for; ValueError if it is unknown."""
        return generic_utils.deserialize_keras_object(config, module_objects=self.table,
                                                      custom_objects=custom_objects, printable_module_name=self.what)

    def get(self, identifier: Any) -> Any:
        """The member for a name, config, class, callable or None."""
        if identifier is None:
            return None
        if isinstance(identifier, dict):
            return self.deserialize(identifier)
        found = self.deserialize(identifier) if isinstance(identifier, str) else identifier
        if isinstance(found, type) or any(found is f for f in self.factories):
            return found()
        if callable(found) or isinstance(identifier, str):
            return found
        raise self.uninterpretable(identifier)

    def uninterpretable(self, identifier: Any) -> ValueError:
        """The error for something that is neither name nor config nor callable."""
        return ValueError(f"Could not interpret {self.what} identifier: {str(identifier)[:200]} (a "
                          f"{type(identifier).__name__}). Expected a name, a config or a callable"
                          + advice(identifier, (k for k in self.table if k.islower())))
