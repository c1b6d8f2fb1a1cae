"""What is timed of convolutions and recurrences: single layers, a small CNN and an LSTM through the plain Keras API.

In: sizes.  Out: for each row the callables to compare: graphk and, where it is installed, torch on the same weights.
What always holds: torch's predictions, or its loss before the first step, are graphk's, or it is not timed.
"""
from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.peers import Run, checked


def _data(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def _torch() -> Any:
    """The module, or None without torch."""
    return importlib.import_module("torch") if importlib.util.find_spec("torch") else None


def _torch_conv(torch: Any, layer: Any) -> Any:
    """A torch convolution with the weights of a Keras layer (torch pads by a number: windows of odd size)."""
    kernel, bias = layer.get_weights()
    size, same = kernel.shape[0], layer.padding == "same"
    conv = torch.nn.Conv2d(kernel.shape[2], kernel.shape[3], size, layer.strides, size // 2 if same else 0)
    with torch.no_grad():
        conv.weight.copy_(torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()))
        conv.bias.copy_(torch.from_numpy(bias))
    return conv.to(memory_format=torch.channels_last)


def conv_row(size: int, channels: int, filters: int, window: int, batch: int) -> dict[str, Run]:
    """One convolution with bias and relu."""
    from graphk.layers import Conv2D
    from graphk.models import Sequential
    model = Sequential([Conv2D(filters, window, padding="same", activation="relu", input_shape=(size, size, channels))])
    x = _data(0, batch, size, size, channels)
    out: dict[str, Run] = {"graphk": lambda: model.predict_on_batch(x)}
    torch = _torch()
    if torch is not None:
        conv = _torch_conv(torch, model.layers[0])
        tx = torch.from_numpy(x).permute(0, 3, 1, 2)                # channels last in memory, as in Keras

        def run() -> np.ndarray:
            with torch.inference_mode():
                return torch.relu(conv(tx)).permute(0, 2, 3, 1).numpy()
        out |= checked("torch", run, model.predict_on_batch(x))
    return out | peers.predicting(model, x)


def _same_loss(name: str, got: float, want: float) -> None:
    assert abs(got - want) < 1e-3 * abs(want), f"the first loss of {name} is {got}, graphk's {want}"


def cnn() -> Any:
    """A small CNN on 32x32 images: four convolutions, two poolings, SGD."""
    from graphk.layers import Conv2D, Dense, Flatten, MaxPooling2D
    from graphk.models import Sequential
    from graphk.optimizers import SGD
    model = Sequential([Conv2D(32, 3, padding="same", activation="relu", input_shape=(32, 32, 3)),
                        Conv2D(32, 3, activation="relu"), MaxPooling2D(),
                        Conv2D(64, 3, padding="same", activation="relu"), Conv2D(64, 3, activation="relu"),
                        MaxPooling2D(), Flatten(), Dense(10)])
    model.compile(SGD(lr=1e-3), "mse")
    return model


def cnn_row(batch: int) -> dict[str, Run]:
    """A training step of it."""
    from graphk.layers import Conv2D, MaxPooling2D
    model = cnn()
    x, y = _data(0, batch, 32, 32, 3), _data(1, batch, 10)
    out: dict[str, Run] = {"graphk": lambda: model.train_on_batch(x, y)}
    torch = _torch()
    if torch is not None:
        nn, parts = torch.nn, []
        for layer in model.layers:
            if isinstance(layer, Conv2D):
                parts += [_torch_conv(torch, layer), nn.ReLU()]
            elif isinstance(layer, MaxPooling2D):
                parts.append(nn.MaxPool2d(2))
        kernel, bias = model.layers[-1].get_weights()
        dense = nn.Linear(*kernel.shape)
        with torch.no_grad():                                       # Keras flattens rows, columns, channels
            dense.weight.copy_(torch.from_numpy(kernel.T.copy()))
            dense.bias.copy_(torch.from_numpy(bias))
        body = nn.Sequential(*parts)
        step = _torch_step(torch, [body, dense], lambda t: dense(body(t).permute(0, 2, 3, 1).flatten(1)),
                           torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(y))
        _same_loss("torch", step(), float(model.test_on_batch(x, y)))
        out["torch"] = step
    return out | peers.training(model, x, y, lambda o: o.SGD(1e-3))


def _torch_step(torch: Any, modules: list[Any], net: Any, x: Any, y: Any) -> Run:
    optimizer = torch.optim.SGD([p for m in modules for p in m.parameters()], lr=1e-3)

    def step() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(net(x), y)
        loss.backward()
        optimizer.step()
        return float(loss.detach())
    return step


def lstm(units: int, steps: int) -> Any:
    """One LSTM and a Dense layer, SGD."""
    from graphk.layers import LSTM, Dense
    from graphk.models import Sequential
    from graphk.optimizers import SGD
    model = Sequential([LSTM(units, recurrent_activation="sigmoid", input_shape=(steps, units)), Dense(1)])
    model.compile(SGD(lr=1e-3), "mse")
    return model


def lstm_row(units: int, steps: int, batch: int) -> dict[str, Run]:
    """A training step of it."""
    model = lstm(units, steps)
    x, y = _data(0, batch, steps, units), _data(1, batch, 1)
    out: dict[str, Run] = {"graphk": lambda: model.train_on_batch(x, y)}
    torch = _torch()
    if torch is not None:
        rnn, dense = torch.nn.LSTM(units, units, batch_first=True), torch.nn.Linear(units, 1)
        kernel, recurrent, bias, last, offset = (torch.from_numpy(w.T.copy()) for w in model.get_weights())
        with torch.no_grad():
            for p, value in ((rnn.weight_ih_l0, kernel), (rnn.weight_hh_l0, recurrent), (rnn.bias_ih_l0, bias),
                             (rnn.bias_hh_l0, torch.zeros_like(bias)), (dense.weight, last), (dense.bias, offset)):
                p.copy_(value)
        step = _torch_step(torch, [rnn, dense], lambda t: dense(rnn(t)[0][:, -1]), torch.from_numpy(x),
                           torch.from_numpy(y))
        _same_loss("torch", step(), float(model.test_on_batch(x, y)))
        out["torch"] = step
    return out | peers.training(model, x, y, lambda o: o.SGD(1e-3))
