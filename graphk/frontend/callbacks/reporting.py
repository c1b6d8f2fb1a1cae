"""Callbacks that write down what each epoch logged, or send it.

In: the logs of epochs.  Out: rows of a CSV file, requests to a server.  What always holds: what an epoch logged is
on the disk when it ends; a server that does not answer stops nothing.
"""
from __future__ import annotations

import csv
import json
import os
import warnings
from collections import OrderedDict
from typing import Any

import numpy as np

from graphk.frontend.callbacks.base import Callback
from graphk.frontend.utils.optional import need


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


class RemoteMonitor(Callback):
    """Posts each epoch's values to a server, as JSON; needs `requests` (`pip install graphk[remote]`).

    root, path: the server and where there; field: the field of the form that holds the JSON text; send_as_json: the
    JSON is the whole body, of type application/json; headers: of the request.
    """

    def __init__(self, root: str = "http://localhost:9000", path: str = "/publish/epoch/end/", field: str = "data",
                 headers: dict[str, str] | None = None, send_as_json: bool = False):
        super().__init__()
        self.root, self.path, self.field = root, path, field
        self.headers, self.send_as_json = headers, send_as_json

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        requests = need("requests", "remote", "RemoteMonitor")
        send: dict[str, Any] = {"epoch": epoch}
        for k, v in (logs or {}).items():
            if isinstance(v, (np.ndarray, np.generic)):
                v = v.item() if v.size == 1 else v.tolist()
            send[k] = v
        try:
            if self.send_as_json:
                requests.post(self.root + self.path, json=send, headers=self.headers)
            else:
                requests.post(self.root + self.path, {self.field: json.dumps(send)}, headers=self.headers)
        except requests.exceptions.RequestException:
            warnings.warn(f"Warning: could not reach RemoteMonitor root server at {self.root}", stacklevel=2)
