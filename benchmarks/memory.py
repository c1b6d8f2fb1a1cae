"""Peak memory of a process that builds a network and runs it: `python -m benchmarks --memory`.

In: the networks of `benchmarks.rows` and `.networks`, ResNet50 and VGG16.  Out: for each the peak resident size of
graphk's process, and the ratio to the smallest of the others that are installed.  What always holds: each framework
has a process of its own that imports no other, is given the weights in a file, and runs five times; predictions are
graphk's, or nothing is printed for it.
"""
from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from typing import Any, Callable, NamedTuple

CALLS = 5


class Row(NamedTuple):
    """A network, a batch, and whether it is trained.  sizes: those of an MLP."""
    make: Callable[[], Any]
    batch: int
    train: bool = False
    sizes: tuple[int, ...] = ()


def _dense(sizes: tuple[int, ...], batch: int, train: bool = False) -> Row:
    def make() -> Any:
        from benchmarks import rows
        from graphk.optimizers import Adam
        return rows.mlp(sizes, Adam(lr=1e-3, epsilon=1e-7), "mse", None)
    return Row(make, batch, train, sizes)


def _network(name: str, *args: int) -> Callable[[], Any]:
    def make() -> Any:
        from benchmarks import networks
        return getattr(networks, name)(*args)
    return make


def _application(name: str) -> Callable[[], Any]:
    def make() -> Any:
        from graphk import applications
        model = getattr(applications, name)(weights=None)
        model.compile("sgd", "mse")
        return model
    return make


ROWS = {
    "MLP 784-512-512-10, train, batch 128": _dense((784, 512, 512, 10), 128, True),
    "MLP 784-512-512-10, predict, batch 128": _dense((784, 512, 512, 10), 128),
    "tiny MLP, train, batch 32": _dense((16, 32, 32, 1), 32, True),
    "tiny MLP, predict, batch 1": _dense((16, 32, 32, 1), 1),
    "CNN on 32x32 images, train, batch 32": Row(_network("cnn"), 32, True),
    "CNN on 32x32 images, predict, batch 32": Row(_network("cnn"), 32),
    "LSTM 128, 80 steps, train, batch 32": Row(_network("lstm", 128, 80), 32, True),
    "LSTM 128, 80 steps, predict, batch 32": Row(_network("lstm", 128, 80), 32),
    "ResNet50, predict, batch 1": Row(_application("ResNet50"), 1),
    "ResNet50, predict, batch 8": Row(_application("ResNet50"), 8),
    "ResNet50, train, batch 8": Row(_application("ResNet50"), 8, True),
    "VGG16, predict, batch 1": Row(_application("VGG16"), 1),
}


def write(row: Row, folder: str) -> None:
    """What all are given: the network as JSON and ONNX, weights and data; and graphk's prediction."""
    import numpy as np
    model, rng = row.make(), np.random.default_rng(0)
    x, y = (rng.standard_normal((row.batch, *shape[1:]), np.float32)
            for shape in (model.input_shape, model.output_shape))
    np.savez(os.path.join(folder, "data.npz"), x=x, y=y, want=model.predict_on_batch(x))
    np.savez(os.path.join(folder, "weights.npz"), *model.get_weights())
    with open(os.path.join(folder, "model.json"), "w") as f:
        f.write(model.to_json())
    if not row.train:
        from graphk.onnx import export_model
        export_model(model, os.path.join(folder, "model.onnx"))


def _graphk(row: Row, folder: str, x: Any, y: Any) -> Callable[[], object]:
    model = row.make()
    model.set_weights(_weights(folder))
    return (lambda: model.train_on_batch(x, y)) if row.train else lambda: model.predict_on_batch(x)


def _onnxruntime(row: Row, folder: str, x: Any, y: Any) -> Callable[[], object]:
    from benchmarks import peers
    return peers.onnx_predict(os.path.join(folder, "model.onnx"), x)


def _tf_keras(row: Row, folder: str, x: Any, y: Any) -> Callable[[], object]:
    from benchmarks import peers
    with open(os.path.join(folder, "model.json")) as f:
        config = f.read()
    if not row.train:
        return peers.tf_predict(config, _weights(folder), x)
    model = peers.tf_keras_model(config, _weights(folder))
    model.compile("adam" if row.sizes else "sgd", "mse")
    return lambda: model.train_on_batch(x, y)


def _torch(row: Row, folder: str, x: Any, y: Any) -> Callable[[], object]:
    from benchmarks import rows
    run = rows.torch_adam(_weights(folder), x, y) if row.train else rows.torch_predict(_weights(folder), x, None)
    return run["torch"]


def _jax(row: Row, folder: str, x: Any, y: Any) -> Callable[[], object]:
    from benchmarks import peers
    run = (peers.jax_adam(_weights(folder), x, y, 1e-3, 1e-7) if row.train
           else peers.jax_predict(_weights(folder), x, None))
    return run["jax"]


def _weights(folder: str) -> list[Any]:
    import numpy as np
    with np.load(os.path.join(folder, "weights.npz")) as f:
        return [f[name] for name in f.files]


RUNS: dict[str, Callable[[Row, str, Any, Any], Callable[[], object]]] = {
    "graphk": _graphk, "onnxruntime": _onnxruntime, "tf_keras": _tf_keras, "torch": _torch, "jax": _jax}


def able(row: Row, name: str) -> bool:
    """Whether the framework is installed, and can be given this network."""
    from importlib.util import find_spec
    return find_spec(name) is not None and (name in ("graphk", "tf_keras") or (
        not row.train if name == "onnxruntime" else bool(row.sizes)))


def child(what: str, name: str, folder: str) -> None:
    """One framework's process: print its peak in MB."""
    import numpy as np
    row = ROWS[name]
    if what == "write":
        return write(row, folder)
    with np.load(os.path.join(folder, "data.npz")) as f:
        x, y, want = f["x"], f["y"], f["want"]
    run = RUNS[what](row, folder, x, y)
    got = [run() for _ in range(CALLS)][-1]
    if not row.train:
        assert np.abs(np.asarray(got) - want).max() < 1e-3 * np.abs(want).max(), f"{what} differs from graphk"
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _run(what: str, name: str, folder: str) -> str:
    code = f"from benchmarks.memory import child; child({what!r}, {name!r}, {folder!r})"
    return subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, text=True).stdout


def table(only: str) -> None:
    """Print it.  (This process stays small: a child's peak begins with its parent's size.)"""
    for name, row in ROWS.items():
        if only not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            _run("write", name, folder)
            peaks = {what: float(_run(what, name, folder)) for what in RUNS if able(row, what)}
        mine = peaks.pop("graphk")
        best = f"   {mine / min(peaks.values()):.2f} of the smallest other" if peaks else ""
        others = ", ".join(f"{what} {mb:.0f}" for what, mb in sorted(peaks.items(), key=lambda t: t[1]))
        print(f"{name:40s} graphk {mine:5.0f} MB{best}   {others}", flush=True)


__all__ = ["ROWS", "able", "child", "table", "write"]
