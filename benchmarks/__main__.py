"""Run the benchmarks and print a table of ratios: `python -m benchmarks [--rounds N] [--only TEXT] [--memory]`.

In: the rows of `benchmarks.rows`, `.networks` and `.others`.  Out: for each row the median time of graphk and its ratio
to each peer that is installed (below 1: graphk is faster); memory bandwidth reached by a fused chain; start-up times.
Quote ratios.  With `--memory` the peaks of `benchmarks.memory` instead.
"""
from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from typing import Any, Callable

from benchmarks import memory

START = """
import time; t0 = time.time()
import numpy as np; t1 = time.time()
from graphk.models import Sequential
from graphk.layers import Dense, Dropout
t2 = time.time()
m = Sequential([Dense(512, activation='relu', input_shape=(784,)), Dropout(.2), Dense(512, activation='relu'),
                Dropout(.2), Dense(10, activation='softmax')])
m.compile('rmsprop', 'categorical_crossentropy')
x = np.random.randn(128, 784).astype('float32'); y = np.eye(10, dtype='float32')[np.random.randint(0, 10, 128)]
m.train_on_batch(x, y); t3 = time.time()
import resource, sys
print(t2 - t1, t3 - t0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 'numba' in sys.modules)
"""


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} us" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"


def show(name: str, times: dict[str, float]) -> None:
    mine = times["graphk"]
    others = ", ".join(f"{k} {microseconds(t)} (ratio {mine / t:.2f})" for k, t in times.items() if k != "graphk")
    print(f"{name:36s} graphk {microseconds(mine):>10s}   {others}", flush=True)


def start_up(repeats: int = 3) -> None:
    """Import, build, compile and first training step of an MLP in a fresh process; kernel cache empty, then filled."""
    cold, warm = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            env = dict(os.environ, GRAPHK_CACHE_DIR=os.path.join(cache, "kernels"))
            for results in (cold, warm):
                out = subprocess.run([sys.executable, "-c", START], env=env, capture_output=True, text=True, check=True)
                results.append([float(v) for v in out.stdout.split()[:3]])
    for name, results in (("empty cache", cold), ("filled cache", warm)):
        load, total, memory = (statistics.median(r[i] for r in results) for i in range(3))
        print(f"start-up, {name:26s} import {load:.2f} s, to the end of the first step {total:.2f} s, "
              f"peak {memory:.0f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="rows whose name holds this text")
    parser.add_argument("--memory", action="store_true", help="peak memory instead of times")
    args = parser.parse_args()
    if args.memory:
        memory.table(args.only)
        return
    from benchmarks import networks, others, rows
    from benchmarks.timing import compare
    tiny, middle = (16, 32, 32, 1), (784, 512, 512, 10)
    table: dict[str, Callable[[], dict[str, Any]]] = {
        "tiny MLP, train step, batch 32": lambda: rows.train_row(tiny, 32),
        "tiny MLP, predict, batch 1": lambda: rows.predict_row(tiny, 1, None),
        "MLP 784-512-512-10, train, batch 128": lambda: rows.train_row(middle, 128),
        "MLP 784-512-512-10, predict, batch 128": lambda: rows.predict_row(middle, 128, "softmax"),
        "MLP 784-512-512-10, predict, batch 1": lambda: rows.predict_row(middle, 1, "softmax"),
        "3x3 convolution, 56x56, 64 to 64": lambda: networks.conv_row(56, 64, 64, 3, 1),
        "3x3 convolution, 14x14, 256 to 256": lambda: networks.conv_row(14, 256, 256, 3, 8),
        "1x1 convolution, 28x28, 512 to 128": lambda: networks.conv_row(28, 512, 128, 1, 1),
        "CNN on 32x32 images, train, batch 32": lambda: networks.cnn_row(32),
        "LSTM 128, 80 steps, train, batch 32": lambda: networks.lstm_row(128, 80, 32),
    }
    for name, network in others.NETWORKS.items():
        table[f"{name}, predict"] = partial(others.predict_row, network)
        table[f"{name}, train"] = partial(others.train_row, network)
    for name, make in table.items():
        if args.only in name:
            show(name, compare(make(), args.rounds))
    if args.only in "elementwise chain":
        candidates, nbytes = rows.chain_row(10_000_000)
        times = compare(candidates, args.rounds)
        show("elementwise chain, 10M floats", times)
        print(f"{'':36s} the chain reads {nbytes / times['graphk'] / 1e9:.1f} GB/s, a plain sum "
              f"{nbytes / times['graphk, plain sum'] / 1e9:.1f} GB/s")
    if args.only in "start-up":
        start_up()


if __name__ == "__main__":
    main()
