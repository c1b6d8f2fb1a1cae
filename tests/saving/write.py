"""A model of every layer class in files, and what a peer makes of them.

`files(folder, ending, package)` writes `0.h5`, `1.h5`, … for the cases of `tests/frontend/layers`, and
`predicted.json`.  Run by a Python that has tf_keras or Keras 3, `python -m tests.saving.write FOLDER ENDING` loads
each, and prints what differs; with `write` at the end it writes its own.
"""
import importlib.util
import json
import os
import pathlib
import sys

import numpy as np

from tests.frontend.layers import CASES, fill, inputs, make, shapes, twice

# What the peers do not have, or (tf_keras without a GPU) cannot run.
MISSING = {"tf_keras": ("CuDNN", "ConvRNN2D", "MaxoutDense", "Highway", "SReLU", "ParametricSoftplus"),
           "keras": ("CuDNN", "ConvRNN2D", "MaxoutDense", "Highway", "SReLU", "ParametricSoftplus", "LocallyConnected",
                     "ThresholdedReLU")}
# In HDF5 files, Keras 3 takes hard_sigmoid for its own function of this name, and no functions of Lambdas.
OTHERWISE = ("hard_sigmoid", "Lambda")


def expected(package: str, ending: str, case: str) -> bool:
    """Whether the peer is to predict the same."""
    return not any(word in case for word in (*MISSING[package], *OTHERWISE * (package == "keras" and ending == "h5")))


def files(folder: pathlib.Path, ending: str, package: str) -> None:
    """Write the models with graphk."""
    from graphk import layers as L
    from graphk.frontend.utils.generic_utils import to_list
    from graphk.models import Model
    out = {}
    for i, case in enumerate(c for c in CASES if expected(package, ending, c)):
        x = [L.Input(s) for s in shapes(case)]
        model = Model(x, make(L, case)(x if len(x) > 1 else x[0]))
        fill(model.layers[-1])
        model.save(folder / f"{i}.{ending}")
        out[i] = [case, [np.asarray(p).tolist() for p in to_list(model.predict_on_batch(inputs(case, 2)))]]
    (folder / "predicted.json").write_text(json.dumps(out))


def differences(folder: str, ending: str) -> list[str]:
    """Load the models with the peer that is installed."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    package = "tf_keras" if importlib.util.find_spec("tf_keras") else "keras"
    keras = importlib.import_module(package)
    out = []
    for i, (case, want) in json.loads(pathlib.Path(folder, "predicted.json").read_text()).items():
        try:
            model = keras.models.load_model(f"{folder}/{i}.{ending}", compile=False, custom_objects={"twice": twice})
            x = inputs(case, 2)
            got = model.predict(x if len(x) > 1 else x[0], verbose=0)
            for a, b in zip(got if isinstance(got, list) else [got], want):
                np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-5)
        except Exception as e:
            out.append(f"{case}: {str(e)[:300]}")
    return out


def peers_files(folder: str, ending: str) -> None:
    """Write the models with the peer that is installed."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    package = "tf_keras" if importlib.util.find_spec("tf_keras") else "keras"
    keras = importlib.import_module(package)
    out = {}
    for i, case in enumerate(CASES):
        if any(word in case for word in (*MISSING[package], "Lambda", "nonneg")):        # stored as code, another name
            continue
        x = [keras.layers.Input(s) for s in shapes(case)]
        model = keras.Model(x if len(x) > 1 else x[0], make(keras.layers, case)(x if len(x) > 1 else x[0]))
        fill(model.layers[-1])
        model.save(f"{folder}/{i}.{ending}")
        data = inputs(case, 2)
        got = model.predict(data if len(data) > 1 else data[0], verbose=0)
        out[i] = [case, [np.asarray(p).tolist() for p in (got if isinstance(got, (list, tuple)) else [got])]]
    pathlib.Path(folder, "predicted.json").write_text(json.dumps(out))


if __name__ == "__main__":
    if sys.argv[3:] == ["write"]:
        peers_files(*sys.argv[1:3])
    else:
        print("\n".join(differences(*sys.argv[1:3])))
