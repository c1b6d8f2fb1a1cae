"""Writes docs/compatibility.md: the public names that graphk has, module by module.

In: graphk's own modules.  Out: the page, in full (`python docs/scripts/compatibility.py` writes it).  What always
holds: a name is listed because it can be imported; what it does is the first sentence of its docstring.
"""
from __future__ import annotations

import inspect
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
from modules import MODULES, first_sentence, members  # noqa: E402

PAGE = Path(__file__).parents[1] / "compatibility.md"
OWN = ("distributed", "distributed.callbacks", "onnx", "inspection")                     # graphk's, not Keras's
NOTES = {
    "utils.multi_gpu_model": "Inputs need an open number of samples.",
    "optimizers.TFOptimizer": "Always refused, with the optimizer to use instead: there is no TensorFlow.",
    "layers.CuDNNGRU": "Runs on every device; the weights have cuDNN's layout.",
    "layers.CuDNNLSTM": "Runs on every device; the weights have cuDNN's layout.",
}
HEAD = """\
# Compatibility with Keras

graphk follows the API of Keras 2.2.4, and takes the names of Keras 1. `keras.x` in a script is `graphk.x` here.
This page is generated from the code (`python docs/scripts/compatibility.py`); a test keeps it up to date. It lists
what can be imported. A name of Keras's that is not listed is not there, and asking for it is an error.

What differs everywhere:

- There is no TensorFlow, Theano or CNTK: `K` takes no symbolic tensors and no sessions of theirs.
- Nothing runs eagerly. What runs is the compiled graph.
- Tensors are dense. Sparse matrices may be fed; each batch is written out.
- How many elements a tensor has is known before a call, or computed from the sizes of inputs: what has as many as the
  data decide (`tf.boolean_mask`, `tf.where` of a condition alone) is refused by name.
- float16 is computed in float32; `compile(mixed_precision=…, loss_scale=…)` is graphk's own (see [GPUs](cuda.md)).
  Complex numbers and uint64 are refused by name.
- Several processes exchange gradients by `graphk.distributed`, layers have devices by `graphk.device_scope`.
- Files are never executed: functions and classes of yours are passed in `custom_objects`.
"""


def table(name: str) -> str:
    """The section of a module."""
    kinds = [(n, v, "class" if inspect.isclass(v) else "function") for n, v in members(name)]
    rows = [f"| `{n}` | {kind} | {cell(name, n, v)} |" for n, v, kind in kinds]
    noted = {n.rpartition(".")[2] for n in NOTES if n.rpartition(".")[0] == name}
    assert noted <= {n for n, _ in members(name)}, f"a note on a name that is not there: {noted}"
    more = ", in addition to Keras" if name in OWN else ""
    head = f"\n## graphk.{name}\n\n{len(rows)} names{more}.\n\n| name | is a | does |\n|---|---|---|\n"
    return head + "\n".join(rows) + "\n"


def cell(module_name: str, name: str, value: object) -> str:
    """What a name does, and what is to be known of it."""
    text = first_sentence(value).replace("|", "\\|").replace("<", "&lt;")
    if getattr(value, "__name__", name) != name:
        text = f"Another name of `{value.__name__}`."        # type: ignore[attr-defined]
    note = NOTES.get(f"{module_name}.{name}", "")
    return f"{text} **{note}**" if note else text


def beside_keras() -> str:
    """The section of TensorFlow's names."""
    from graphk.frontend.tf import NAMES
    again = {f"{k}.{n}" for k in ("math", "linalg", "dtypes", "random") for n in NAMES}
    names = sorted({n for n in NAMES if not n.startswith("compat.")} - again, key=lambda n: (n.count("."), n))
    head = f"""
## tensorflow

{len(names)} names beside `tensorflow.keras`: as `K.tf`, and as `import tensorflow` after
`install_as_keras(tensorflow=True)` and in `graphk run --tensorflow`. Where versions differ, TensorFlow 2 holds;
`tensorflow.compat.v1` is there, too. Modules such as `tensorflow.math` have functions of the same names. `name=` is
taken and names nothing. There is one session and one graph; their settings have no effect, which a warning says.

"""
    return head + ", ".join(f"`{n}`" for n in names) + ".\n"


def page() -> str:
    """The whole page."""
    return HEAD + "".join(table(name) for name in MODULES if members(name)) + beside_keras()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
