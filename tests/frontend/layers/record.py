"""Writes what the table's layers should compute, according to tf_keras: `python -m tests.frontend.layers.record`.

In: an environment with tf_keras; `--out FILE`.  Out: `expected.npz` beside this file, or FILE: for each case that
tf_keras has, its outputs and the gradients for inputs and weights of the outputs' products with cosines.  What always
holds: arrays are named `case|variant|number`, outputs first, then inputs' gradients, then weights'.
"""
from __future__ import annotations

import pathlib
import re
import sys
from typing import Any

import numpy as np

from tests.frontend.layers import CASES, fill, inputs, make, masked, variants, wave

EXPECTED = pathlib.Path(__file__).with_name("expected.npz")


def compute(tf: Any, layers: Any, case: str, variant: str) -> list[np.ndarray]:
    """What tf_keras makes of a case."""
    xs = [tf.constant(x) for x in (masked(inputs(case, 2)) if variant == "masked" else inputs(case, 2))]
    layer, before = make(layers, case), layers.Masking() if variant == "masked" else layers.Lambda(lambda x: x)
    given = xs if len(xs) > 1 else xs[0]
    layer(given)
    fill(layer)
    with tf.GradientTape() as tape:
        moved = [] if case.startswith("Embedding") else xs
        tape.watch(moved)
        seen = [before(x) for x in xs]
        y = tf.nest.flatten(layer(seen if len(xs) > 1 else seen[0], training=variant == "training"))
        loss = sum(tf.reduce_sum(v * wave(v.shape).astype("float32")) for v in y)
    grads = tape.gradient(loss, [*moved, *layer.trainable_weights])
    return [np.asarray(tf.convert_to_tensor(v), "float32") for v in [*y, *grads]]


def main(path: pathlib.Path) -> None:
    """Compute every case that tf_keras has, and write it to `path`."""
    import tensorflow as tf
    from tf_keras import layers
    out = {}
    for case in CASES:
        if all(hasattr(layers, name) for name in re.findall(r"([A-Z]\w+)\(", case)):
            for variant in variants(case):
                for i, value in enumerate(compute(tf, layers, case, variant)):
                    out[f"{case}|{variant}|{i}"] = value
    np.savez_compressed(path, **out)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[sys.argv.index("--out") + 1]) if "--out" in sys.argv else EXPECTED)
