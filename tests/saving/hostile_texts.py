"""YAML that means harm.

In: a path.  Out: a file of YAML.  What always holds: one document, in UTF-8.
"""
from pathlib import Path

_DENSE = "class_name: Sequential\nconfig:\n- class_name: Dense\n  config: {units: 2, batch_input_shape: [null, 4]%s}\n"


def text(value):
    """A case from text."""
    return "yaml", lambda path: Path(path).write_text(value)


def laughs(depth, width=10):
    """Lists of aliases of lists of aliases."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, depth)]
    return "\n".join(lines)


CASES = {
    "an object of Python's": text("!!python/object/apply:os.system ['touch escaped']"),
    "an object of Python's in a config": text(_DENSE % ", activation: !!python/object/apply:os.system [touch escaped]"),
    "a new object of Python's": text("!!python/object/new:os.system ['touch escaped']"),
    "a name of Python's": text(_DENSE % ", activation: !!python/name:os.system"),
    "a module of Python's": text("!!python/module:canary_of_graphk"),
    "byte code in a tuple": text(_DENSE % ", function: !!python/tuple [!!binary '4wAAAA==', null, null]"),
    "a tuple of a mapping": text("!!python/tuple {a: 1}"),
    "aliases of aliases": text(laughs(12)),
    "keys merged from merged keys": text("a0: &a0 {x: 1}\n" + "\n".join(
        f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}], y{i}: 1}}" for i in range(1, 12))),
    "an alias of what holds it": text("a: &a [*a]"),
    "a mapping that is its own key": text("&a {? *a : 1}"),
    "ten thousand brackets": text("[" * 10_000 + "]" * 10_000),
    "three thousand indents": text("\n".join(" " * i + "a:" for i in range(3000))),
    "a number of a million digits": text("a: " + "9" * 1_000_000),
    "a number of 60s": text("a: 1" + ":10" * 100_000),
    "five thousand anchors": text("".join(f"- &a{i} {i}\n" for i in range(5_000))),
    "a list for a key": text("? [a, b]\n: c"),
    "bytes of UTF-16": text("\ufeffclass_name: Dense"),
    "two documents": text("a: 1\n---\nb: 2"),
    "a directive": text("%TAG ! tag:yaml.org,2002:python/object/apply:\n--- !os.system [touch escaped]"),
}
