"""Other frameworks on a graphk model: ONNX Runtime from an exported file, tf_keras from its JSON, JAX by hand.

In: a compiled Keras model of graphk.  Out: callables that do the same with the same weights, by name; none for what is
not installed.  What always holds: predictions, or the loss before the first step, are graphk's, or it is not timed.
"""
from __future__ import annotations

import importlib.util
import os
import tempfile
from typing import Any, Callable, Sequence

import numpy as np

Run = Callable[[], object]
TOLERANCE = 1e-3


def installed(*names: str) -> bool:
    return all(importlib.util.find_spec(name) is not None for name in names)


def checked(name: str, run: Run, want: np.ndarray) -> dict[str, Run]:
    """The candidate, if its numbers are right; AssertionError naming it if not."""
    got = np.asarray(run())
    error = float(np.abs(got - want).max() / np.abs(want).max())
    assert error < TOLERANCE, f"{name} differs from graphk by {error}"
    return {name: run}


def predicting(model: Any, x: np.ndarray, without: Sequence[str] = ()) -> dict[str, Run]:
    """Whoever is installed and predicts `model` on the batch `x`; without: who cannot."""
    want, out = model.predict_on_batch(x), dict[str, Run]()
    if "onnxruntime" not in without and installed("onnx", "onnxruntime"):
        from graphk.onnx import export_model
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.onnx")
            export_model(model, path)
            out |= checked("onnxruntime", onnx_predict(path, x), want)
    if "tf_keras" not in without and installed("tf_keras", "tensorflow"):
        out |= checked("tf_keras", tf_predict(model.to_json(), model.get_weights(), x), want)
    return out


def training(model: Any, x: np.ndarray, y: np.ndarray, optimizer: Callable[[Any], Any]) -> dict[str, Run]:
    """tf_keras's `train_on_batch`, if it is installed; `optimizer` makes one from the module `tf_keras.optimizers`."""
    if not installed("tf_keras", "tensorflow"):
        return {}
    other = tf_keras_model(model.to_json(), model.get_weights())
    import tf_keras
    other.compile(optimizer(tf_keras.optimizers), model.loss)
    got, want = float(other.test_on_batch(x, y)), float(model.test_on_batch(x, y))
    assert abs(got - want) < TOLERANCE * abs(want), f"the first loss of tf_keras is {got}, graphk's {want}"
    return {"tf_keras": lambda: other.train_on_batch(x, y)}


def onnx_predict(path: str, x: np.ndarray) -> Run:
    """A prediction by ONNX Runtime of the network in a file."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("GRAPHK_NUM_THREADS", "0"))
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    first = session.get_inputs()[0]
    x = x.astype({"tensor(float)": "float32", "tensor(int32)": "int32"}[first.type])
    return lambda: session.run(None, {first.name: x})[0]


def tf_keras_model(config: str, weights: list[np.ndarray]) -> Any:
    """The model of a JSON text there."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tf_keras
    other = tf_keras.models.model_from_json(config)
    other.set_weights(weights)
    return other


def tf_predict(config: str, weights: list[np.ndarray], x: np.ndarray) -> Run:
    """A prediction by tf_keras, as a `tf.function`."""
    other = tf_keras_model(config, weights)
    import tensorflow
    call = tensorflow.function(lambda t: other(t, training=False))
    tensor = tensorflow.constant(x)
    return lambda: call(tensor).numpy()


# ------------------------------------------------------------------ JAX, for networks of Dense layers
def _jax_mlp(final: str | None) -> Callable[[Any, Any], Any]:
    import jax

    def forward(weights: Any, x: Any) -> Any:
        for i in range(0, len(weights), 2):
            x = x @ weights[i] + weights[i + 1]
            if i < len(weights) - 2:
                x = jax.nn.relu(x)
        return jax.nn.softmax(x) if final == "softmax" else x
    return forward


def jax_predict(weights: list[np.ndarray], x: np.ndarray, final: str | None) -> dict[str, Run]:
    """The network of `weights`, compiled by JAX, if it is installed."""
    if not installed("jax"):
        return {}
    import jax
    forward, params = jax.jit(_jax_mlp(final)), [jax.numpy.asarray(w) for w in weights]
    return {"jax": lambda: np.asarray(forward(params, x))}


def jax_adam(weights: list[np.ndarray], x: np.ndarray, y: np.ndarray, rate: float, epsilon: float) -> dict[str, Run]:
    """A step of Adam on the mean squared error, compiled by JAX, if it is installed."""
    if not installed("jax"):
        return {}
    import jax
    import jax.numpy as jnp
    forward, tree = _jax_mlp(None), jax.tree_util.tree_map

    def loss(params: Any) -> Any:
        return jnp.mean((forward(params, x) - y) ** 2)

    @jax.jit
    def step(state: Any) -> Any:
        params, m, v, t = state
        value, g = jax.value_and_grad(loss)(params)
        m = tree(lambda a, b: 0.9 * a + 0.1 * b, m, g)
        v = tree(lambda a, b: 0.999 * a + 0.001 * b * b, v, g)
        at = rate * jnp.sqrt(1 - 0.999 ** t) / (1 - 0.9 ** t)
        return (tree(lambda p, a, b: p - at * a / (jnp.sqrt(b) + epsilon), params, m, v), m, v, t + 1), value
    start = [jnp.asarray(w) for w in weights]
    states = [(start, tree(jnp.zeros_like, start), tree(jnp.zeros_like, start), 1.0)]

    def run() -> float:
        states[0], value = step(states[0])
        return float(value)
    return {"jax": run}


__all__ = ["Run", "checked", "installed", "jax_adam", "jax_predict", "onnx_predict", "predicting", "tf_keras_model",
           "tf_predict", "training"]
