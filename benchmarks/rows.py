"""What is timed: small and medium MLPs through the plain Keras API, an elementwise chain, and the cost of a call.

In: nothing (weights and data are seeded).  Out: for each row the callables to compare: graphk, numpy (by hand), torch,
ONNX Runtime, JAX and tf_keras, whichever can do the same and is installed.  What always holds: a peer's numbers are
checked against graphk's before it is timed.
"""
from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.peers import Run, checked


def mlp(sizes: tuple[int, ...], optimizer: Any, loss: str, final: str | None) -> Any:
    """A compiled Sequential of Dense layers."""
    from graphk.layers import Dense
    from graphk.models import Sequential
    model = Sequential()
    for i, units in enumerate(sizes[1:]):
        last = i == len(sizes) - 2
        model.add(Dense(units, activation=final if last else "relu", **({"input_shape": sizes[:1]} if i == 0 else {})))
    model.compile(optimizer, loss)
    return model


def numpy_mlp(weights: list[np.ndarray], x: np.ndarray, final: str | None) -> np.ndarray:
    h = x
    for i in range(0, len(weights), 2):
        h = h @ weights[i] + weights[i + 1]
        if i < len(weights) - 2:
            h = np.maximum(h, 0)
    if final == "softmax":
        e = np.exp(h - h.max(-1, keepdims=True))
        h = e / e.sum(-1, keepdims=True)
    return h


def torch_mlp(weights: list[np.ndarray], final: str | None) -> Any:
    """The same network as a torch module, or None without torch."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch
    layers: list[Any] = []
    for i in range(0, len(weights), 2):
        layer = torch.nn.Linear(*weights[i].shape)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weights[i].T.copy()))
            layer.bias.copy_(torch.from_numpy(weights[i + 1]))
        layers += [layer] + ([torch.nn.ReLU()] if i < len(weights) - 2 else [])
    if final == "softmax":
        layers.append(torch.nn.Softmax(-1))
    return torch.nn.Sequential(*layers)


def torch_predict(weights: list[np.ndarray], x: np.ndarray, final: str | None) -> dict[str, Run]:
    """The network's prediction there, if torch is installed."""
    net = torch_mlp(weights, final)
    if net is None:
        return {}
    import torch
    tx = torch.from_numpy(x)

    def run() -> np.ndarray:
        with torch.inference_mode():
            return net(tx).numpy()
    return {"torch": run}


def torch_adam(weights: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> dict[str, Run]:
    """A step of Adam on the mean squared error there, if torch is installed."""
    net = torch_mlp(weights, None)
    if net is None:
        return {}
    import torch
    tx, ty = torch.from_numpy(x), torch.from_numpy(y)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, eps=1e-7)

    def step() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(net(tx), ty)
        loss.backward()
        optimizer.step()
        return float(loss.detach())
    return {"torch": step}


def predict_row(sizes: tuple[int, ...], batch: int, final: str | None) -> dict[str, Run]:
    model = mlp(sizes, "sgd", "mse", final)
    weights = model.get_weights()
    x = np.random.default_rng(0).standard_normal((batch, sizes[0])).astype("float32")
    want = model.predict_on_batch(x)
    out: dict[str, Run] = {"graphk": lambda: model.predict_on_batch(x)}
    out |= checked("numpy", lambda: numpy_mlp(weights, x, final), want)
    for name, run in (torch_predict(weights, x, final) | peers.jax_predict(weights, x, final)).items():
        out |= checked(name, run, want)
    return out | peers.predicting(model, x)


def train_row(sizes: tuple[int, ...], batch: int) -> dict[str, Run]:
    """Adam on the mean squared error."""
    from graphk.optimizers import Adam
    model = mlp(sizes, Adam(lr=1e-3, epsilon=1e-7), "mse", None)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, sizes[0])).astype("float32")
    y = rng.standard_normal((batch, sizes[-1])).astype("float32")
    out: dict[str, Run] = {"graphk": lambda: model.train_on_batch(x, y)}
    out |= torch_adam(model.get_weights(), x, y) | peers.jax_adam(model.get_weights(), x, y, 1e-3, 1e-7)
    return out | peers.training(model, x, y, lambda o: o.Adam(1e-3, epsilon=1e-7))


def chain_row(size: int) -> tuple[dict[str, Run], int]:
    """Twenty cheap elementwise operations and a sum as a K.function; and the bytes that must move."""
    from graphk import backend as K
    x = np.random.default_rng(0).standard_normal(size).astype("float32")
    v = K.placeholder(shape=x.shape)
    y = v
    for _ in range(5):
        y = K.maximum(K.abs(y * 0.9 + 0.1), 0.05)
    f = K.function([v], [K.sum(y)])
    reader = K.function([v], [K.sum(v)])
    return {"graphk": lambda: f([x]), "graphk, plain sum": lambda: reader([x])}, x.nbytes
