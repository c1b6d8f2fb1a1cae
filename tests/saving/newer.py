"""Models of layers that Keras got after 2.3, written by tf_keras and Keras 3.

`python -m tests.saving.newer tf_keras` (or `keras`), from the root of the repository, writes
`tests/saving/files/newer_NAME.zip`: files of models, and what they predict.
"""
import importlib
import json
import os
import pathlib
import sys
import tempfile
import zipfile

import numpy as np

from tests.saving.record import wave

HERE = pathlib.Path(__file__).parent / "files"


def models(keras):
    """(name, model, shapes of its inputs)."""
    L = keras.layers

    def of(layer, *shapes):
        xs = [L.Input(s) for s in shapes]
        return keras.Model(xs if len(xs) > 1 else xs[0], layer(xs if len(xs) > 1 else xs[0])), shapes
    norm = L.Normalization()
    norm.adapt(wave(20, 3) * 3 + 1)
    yield "rescaling", *of(L.Rescaling(.5, offset=-1.), (4, 4, 3))
    yield "normalization", *of(norm, (5, 3))
    yield "normalization of an axis", *of(L.Normalization(axis=1, mean=[1., 2.], variance=[4., 9.]), (2, 3))
    yield "layer", *of(L.LayerNormalization(), (5, 3))
    yield "layer of axes", *of(L.LayerNormalization(axis=[1, 2], epsilon=1e-6, center=False), (5, 3))
    yield "groups", *of(L.GroupNormalization(2), (4, 5, 6))
    yield "each channel", *of(L.GroupNormalization(-1, scale=False), (5, 4))
    yield "unit", *of(L.UnitNormalization(), (5, 3))
    yield "sequences", *of(L.Conv1DTranspose(3, 3, strides=2, padding="same", activation="gelu"), (5, 4))
    yield "sequences further", *of(L.Conv1DTranspose(2, 2, use_bias=False), (5, 4))
    yield "attention", *of(L.Attention(use_scale=True), (4, 3), (5, 3))
    yield "attention with keys", *of(L.Attention(score_mode="concat"), (4, 3), (5, 2), (5, 3))
    yield "additive", *of(L.AdditiveAttention(), (4, 3), (5, 3))
    yield "activations", *of(lambda x: L.Concatenate()([L.Activation(n)(x) for n in (
        "gelu", "swish", "exponential", "selu", "elu", "softplus")]), (5, 3))


    x = L.Input((4, 4, 3))
    yield "operations", keras.Model(x, operations(keras, x, L.Conv2D(3, 1)(x))), ((4, 4, 3),)


def operations(keras, x, y):
    """What functional models compute without layers."""
    if hasattr(keras, "ops"):                              # Keras 3
        ops = keras.ops
        z = ops.relu6((1. - (x / 127.5 - 1. + y) * 2.)[..., ::-1])
        z = ops.concatenate([ops.mean(z, axis=[1, 2], keepdims=True), ops.max(z, axis=(1, 2), keepdims=True)], -1)
        return ops.softmax(ops.add(ops.reshape(z, (-1, 6)), 1.)[:, 1:4])
    import tensorflow as tf
    z = tf.nn.relu6((1. - (tf.math.truediv(x, 127.5) - 1. + y) * 2.)[:, :, :, ::-1])
    z = tf.concat([tf.reduce_mean(tf.nn.bias_add(z, [1., 2., 0.]), axis=[1, 2], keepdims=True),
                   tf.reduce_max(z, axis=[1, 2], keepdims=True)], -1)
    z = tf.squeeze(tf.expand_dims(tf.cast(tf.reshape(z, [-1, 6]), "float32"), -1), -1)
    return tf.nn.softmax(-(z ** 2)[:, 1:4])


def main(package: str) -> None:
    """Write the files of one package."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = importlib.import_module(package)
    said = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, model, shapes in models(keras):
            for weight in model.trainable_weights:
                weight.assign(wave(*weight.shape) + .5)
            data = [wave(3, *s) * (i + 1) for i, s in enumerate(shapes)]
            said[name] = [shapes, np.asarray(model.predict(data if len(data) > 1 else data[0], verbose=0)).tolist()]
            for ending in ("h5", "keras"):
                model.save(f"{folder}/{name}.{ending}")
        pathlib.Path(folder, "numbers.json").write_text(json.dumps(said))
        with zipfile.ZipFile(HERE / f"newer_{package}.zip", "w", zipfile.ZIP_DEFLATED) as z:
            for path in sorted(pathlib.Path(folder).iterdir()):
                z.write(path, path.name)


if __name__ == "__main__":
    main(sys.argv[1])
