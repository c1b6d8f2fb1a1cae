"""Callbacks that write down what each epoch logged, or send it.

In: the logs of epochs.  Out: rows of a CSV file.  What always holds: what an epoch logged is on the disk when it ends.
"""
from __future__ import annotations

import csv
import os
from collections import OrderedDict
from typing import Any

import numpy as np

from graphk.frontend.callbacks.base import Callback


class CSVLogger(Callback):
    """Appends each epoch's values to a CSV file."""

    def __init__(self, filename: Any, separator: str = ",", append: bool = False):
        super().__init__()
        self.filename, self.sep, self.append = filename, separator, append
        self.writer: Any = None
        self.keys: list[str] | None = None
        self.append_header = True

    def on_train_begin(self, logs: Any = None) -> None:
        if self.append and os.path.exists(self.filename):
            with open(self.filename, newline="") as f:
                self.append_header = not bool(f.readline())
        self.csv_file = open(self.filename, "a" if self.append else "w", newline="")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs = logs or {}

        def text(v: Any) -> Any:
            many = np.ndim(v) > 0 and not isinstance(v, str)
            return '"[%s]"' % ", ".join(map(str, v)) if many else v
        if self.keys is None:
            self.keys = sorted(logs)
        if self.writer is None:
            self.writer = csv.DictWriter(self.csv_file, fieldnames=["epoch"] + self.keys, delimiter=self.sep)
            if self.append_header:
                self.writer.writeheader()
        row = OrderedDict({"epoch": epoch}, **{k: text(logs.get(k, "NA")) for k in self.keys})
        self.writer.writerow(row)
        self.csv_file.flush()

    def on_train_end(self, logs: Any = None) -> None:
        self.csv_file.close()
        self.writer = None
