"""How large the page of ResNet50 is and how soon it can be used: `python -m benchmarks.pages [--rounds N]`.

In: a browser of this machine.  Out: for the model as it is loaded (predict alone) and compiled (train and test, too),
the bytes of the page, and from navigation to the first drawing on the screen the milliseconds that the page itself
counts: the first time in a fresh browser, the median of the later ones.
"""
from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from tests.browser import browser


def pages(folder: Path) -> dict[str, Path]:
    """The pages, made."""
    from graphk.applications.resnet50 import ResNet50
    from graphk.inspection import report
    model = ResNet50(weights=None)
    made = {"ResNet50, predict": Path(report(model, folder / "predict.html", times=False))}
    model.compile("sgd", "categorical_crossentropy")
    return {**made, "ResNet50, train, test, predict": Path(report(model, folder / "train.html", times=False))}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, page in pages(folder).items():
            with browser(folder / page.stem) as tab:
                first, *later = [tab.open(page) for _ in range(rounds + 1)]
            print(f"{title:32s} {page.stat().st_size / 1e6:5.2f} MB   first {first} ms, then "
                  f"{statistics.median(later):.0f} ms", flush=True)


if __name__ == "__main__":
    main()
