"""JSON and YAML of models, read without executing anything.

In: text.  Out: plain dicts, lists, tuples, numbers, texts.  What always holds: of YAML's Python tags only tuples and
texts are known; text that stands for more than it holds (aliases of aliases) is refused.
"""
from __future__ import annotations

import json
from typing import Any

from graphk.frontend.saving.errors import GraphkFormatError, malformed

_LONGEST = 1000                        # digits of a number
_MOST_NODES = 1_000_000                # of a YAML document, aliases counted each time


def load_json(text: str | bytes, file: str = "", place: str = "JSON") -> Any:
    """The value that JSON text stands for; GraphkFormatError if it is not JSON."""
    if not isinstance(text, (str, bytes, bytearray)):
        raise TypeError(f"expected JSON text, received {text!r:.80}, a {type(text).__name__}")
    with malformed(file, place, "it is not JSON"):
        return json.loads(text)


def load_yaml(text: str | bytes, file: str = "", place: str = "YAML") -> Any:
    """The value that YAML text stands for; GraphkFormatError if it is not YAML, or holds other tags of Python's.

    >>> load_yaml("a: !!python/tuple [1, 2]")
    {'a': (1, 2)}
    """
    import yaml
    try:
        loader = _loader()(text)
        try:
            node = loader.get_single_node()
            _count(node)
            return None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as e:
        raise GraphkFormatError(file, place, f"it is not YAML that describes a model: {str(e)[:500]}. Of Python's tags "
                                "only !!python/tuple and !!python/unicode are read; others could execute code"
                                ) from None
    except (RecursionError, ValueError, TypeError, AttributeError, OverflowError) as e:
        raise GraphkFormatError(file, place, f"it is not YAML that describes a model: {e}") from None


def _count(root: Any) -> None:
    """ValueError if a document holds itself, is larger than it may be when each alias is written out, or has numbers
    that take minutes to read."""
    sizes: dict[int, int] = {}                         # 0: being counted

    def size(node: Any) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = 0
            value = node.value
            entries = value if isinstance(value, list) else []
            if len(value) > _LONGEST and node.tag.endswith((":int", ":float")):
                raise ValueError(f"a number has {len(value)} digits")
            sizes[id(node)] = 1 + sum(size(x) for e in entries for x in (e if isinstance(e, tuple) else (e,)))
        elif sizes[id(node)] == 0:
            raise ValueError("an alias refers to something that holds it")
        return sizes[id(node)]
    if root is not None and size(root) > _MOST_NODES:
        raise ValueError(f"it stands for more than {_MOST_NODES} values")


def _loader() -> Any:
    """PyYAML's safe loader, with tuples and Python 2's texts."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Knows the two tags that Keras 1 wrote."""

    def a_tuple(loader: Any, node: Any) -> tuple[Any, ...]:
        return tuple(loader.construct_sequence(node, deep=True))

    def a_text(loader: Any, node: Any) -> str:
        return str(loader.construct_scalar(node))
    Loader.add_constructor("tag:yaml.org,2002:python/tuple", a_tuple)
    Loader.add_constructor("tag:yaml.org,2002:python/unicode", a_text)
    return Loader


__all__ = ["load_json", "load_yaml"]
