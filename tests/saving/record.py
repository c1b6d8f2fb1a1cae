"""Writes the small files that tests read, and what their models predict, with the Keras that is installed.

`python -m tests.saving.record tf_keras` (or `keras`, for Keras 3), from the root of the repository, writes
`tests/saving/files/NAME.zip`: files of models, and the numbers in `numbers.json`.  Each model trains twice before it is
written; its predictions after a third step tell whether training goes on where it stopped.
"""
import importlib
import json
import pathlib
import sys
import tempfile
import zipfile

import numpy as np

HERE = pathlib.Path(__file__).parent / "files"


def wave(*shape: int) -> np.ndarray:
    """Numbers that every package rounds alike."""
    return np.cos(np.arange(int(np.prod(shape))) * .7).reshape(shape).astype("float32")


def models(keras):
    """Models by name, with the shape of their inputs."""
    L = keras.layers
    x = L.Input((5, 3), name="sequence")
    inner = keras.Sequential([L.Input((3,)), L.Dense(4, activation="tanh"), L.Dense(3)], name="inner")
    y = L.Bidirectional(L.GRU(2, return_sequences=True), name="both")(L.TimeDistributed(inner, name="steps")(x))
    z = L.LSTM(2, kernel_regularizer="l2", name="last")(L.Concatenate(name="joined")([y, x]))
    yield "recurrent", keras.Model(x, L.Dense(2, activation="softmax", name="out")(L.Dropout(0., name="d")(z))), (5, 3)
    words = L.Input((5,), name="words")
    y = L.Embedding(4, 3, mask_zero=True, name="table")(words)
    y = L.Bidirectional(L.LSTM(2, return_sequences=True), merge_mode="sum", name="both")(y)
    yield "masked", keras.Model(words, L.Flatten(name="flat")(L.Lambda(twice, name="twice", mask=unmasked)(y))), (5,)
    yield "images", keras.Sequential([
        L.Input((6, 6, 2)), L.Conv2D(3, 3, padding="same", activation="relu", name="conv"),
        L.SeparableConv2D(2, 2, name="separable"), L.BatchNormalization(name="norm"), L.MaxPooling2D(name="pool"),
        L.LeakyReLU(name="leaky"), L.GlobalAveragePooling2D(name="mean"), L.Dense(2, name="out")], name="images"), \
        (6, 6, 2)
    a, b = L.Input((3,), name="a"), L.Input((3,), name="b")
    shared = keras.Sequential([L.Input((3,)), L.Dense(2, name="inside")], name="shared")
    first, second = shared(a), shared(b)
    yield "twins", keras.Model([b, a], [L.Subtract(name="minus")([first, second]), L.Dot(1, name="dot")([
        first, second])]), None


def twice(x):
    """The function of the Lambda layers."""
    return x * 2.


def unmasked(x, mask):
    """No mask, so that Flatten takes what is masked."""
    return None


def data(shape, name):
    """Inputs and targets."""
    if name == "twins":
        return [wave(8, 3), wave(8, 3)[::-1]], [wave(8, 2), wave(8, 1)]
    if name == "masked":
        return (np.abs(wave(8, *shape)) * 4).astype("int32") % 4, wave(8, 10)
    return wave(8, *shape), np.eye(2, dtype="float32")[np.arange(8) % 2]


OPTIMIZERS = {"recurrent": "Adam", "masked": "Adamax", "images": "SGD", "twins": "Adagrad"}
SETTINGS = {"SGD": {"momentum": .9, "nesterov": True}, "Adam": {"amsgrad": True}}


def main(package: str, folder: str) -> None:
    """Write the files of one package."""
    keras = importlib.import_module(package)
    out = {}
    for name, model, shape in models(keras):
        optimizer = OPTIMIZERS[name]
        loss = "categorical_crossentropy" if name == "recurrent" else "mean_squared_error"
        model.compile(getattr(keras.optimizers, optimizer)(**SETTINGS.get(optimizer, {})), loss,
                      metrics=["accuracy"] if name == "recurrent" else None)
        x, y = data(shape, name)
        for _ in range(2):
            model.train_on_batch(x, y)
        for ending in ("keras", "h5"):                       # Keras 3's HDF5 leaves no optimizer for its archive
            model.save(f"{folder}/{name}.{ending}")
        predicted = model.predict(x, verbose=0)
        found = {"keras": keras.__version__, "predicted": [np.asarray(p).round(6).tolist() for p in (
            predicted if isinstance(predicted, list) else [predicted])]}
        model.train_on_batch(x, y)
        after = model.predict(x, verbose=0)
        found["after"] = [np.asarray(p).round(6).tolist() for p in (after if isinstance(after, list) else [after])]
        out[name] = found
    pathlib.Path(folder, "numbers.json").write_text(json.dumps(out))
    with zipfile.ZipFile(HERE / f"{package}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as z:
        for path in sorted(pathlib.Path(folder).iterdir()):
            z.write(path, path.name)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as aside:
        main(sys.argv[1], aside)
