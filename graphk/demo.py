"""The demonstration: train a digit classifier on real digits, then look inside it.

In: the digits that come with the package (`graphk.datasets.digits`), and how many epochs to train.  Out:
lines on standard output and one HTML page.  What always holds: nothing is downloaded; everything goes
through the public Keras names, so this file is also an example of them.

    python -m graphk.demo [--epochs N] [--out DIR]
"""
from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Sequence

import numpy as np

if TYPE_CHECKING:
    from graphk.models import Sequential as SequentialModel

HIDDEN = "hidden"                          # the name of the layer that the demo looks at in both phases


def load() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The digits as rows of 784 numbers in [0, 1] and one-hot labels."""
    from graphk.datasets import digits
    from graphk.utils import to_categorical
    (x_train, y_train), (x_test, y_test) = digits.load_data()

    def rows(x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), 784).astype("float32") / 255
    return (rows(x_train), to_categorical(y_train, 10)), (rows(x_test), to_categorical(y_test, 10))


def build() -> "SequentialModel":
    """784-256-128-10, with batch normalization and dropout, compiled."""
    from graphk.layers import Activation, BatchNormalization, Dense, Dropout
    from graphk.models import Sequential
    model = Sequential(name="digits")
    model.add(Dense(256, input_shape=(784,)))
    model.add(BatchNormalization())
    model.add(Activation("relu"))
    model.add(Dropout(0.3))
    model.add(Dense(128, activation="relu"))
    model.add(Dropout(0.3, name=HIDDEN))
    model.add(Dense(10, activation="softmax"))
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    return model


def compare_phases(model: Any, x: np.ndarray) -> str:
    """One line on what the hidden layer gives in training and in testing, for the same weights and input."""
    from graphk import backend as K
    hidden = K.function([model.input, K.learning_phase()], [model.get_layer(HIDDEN).output])
    test, again, train = (hidden([x, phase])[0] for phase in (0, 0, 1))
    same = "identical" if np.array_equal(test, again) else "different"
    return (f"layer `{HIDDEN}`, K.learning_phase() = 0: {np.mean(test == 0):.0%} zeros, two runs {same}; "
            f"= 1: {np.mean(train == 0):.0%} zeros (dropout), mean |train - test| = {np.abs(train - test).mean():.3f}")


def run(epochs: int, out: Path) -> float:
    """Train, measure, compare the phases, write the page; the test accuracy."""
    np.random.seed(7)
    (x_train, y_train), (x_test, y_test) = load()
    print(f"{len(x_train)} training and {len(x_test)} test images of handwritten digits (MNIST)")
    model = build()
    model.summary()
    start = time.perf_counter()
    model.fit(x_train, y_train, batch_size=64, epochs=epochs, verbose=1, validation_split=0.1)
    print(f"trained {epochs} epochs in {time.perf_counter() - start:.1f} s, compilation included")
    loss, accuracy = model.evaluate(x_test, y_test, batch_size=256, verbose=0)
    print(f"test loss {loss:.4f}, test accuracy {accuracy:.1%}")
    print(compare_phases(model, x_test[:256]))
    print(f"wrote {write_page(model, out)}: open it in a browser")
    return float(accuracy)


def write_page(model: Any, out: Path) -> Path:
    """The page that shows every stage of the compilation of `model`."""
    try:
        from graphk.inspection import report
    except ImportError as e:
        raise ImportError("the page cannot be written: `graphk.inspection` has no `report(model, path)` in this "
                          f"installation ({e}); training and the numbers above are complete without it") from e
    out.mkdir(parents=True, exist_ok=True)
    path = out / "report.html"
    report(model, str(path))
    return path


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: 0 if all went well."""
    parser = argparse.ArgumentParser(prog="python -m graphk.demo",
                                     description="Train a digit classifier, look inside it.")
    parser.add_argument("--epochs", type=int, default=12, metavar="N", help="how often to go through the images (12)")
    parser.add_argument("--out", type=Path, default=Path("demo_output"), metavar="DIR",
                        help="where report.html goes (demo_output)")
    args = parser.parse_args(argv)
    if args.epochs < 1:
        parser.error(f"--epochs must be at least 1, received {args.epochs}")
    run(args.epochs, args.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
