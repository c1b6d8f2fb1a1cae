"""Writes what the calls should compute, according to tf_keras: `python -m tests.frontend.calls.record`.

In: an environment with tf_keras; `--out FILE`.  Out: `expected.npz` beside this file, or FILE.  What always holds:
arrays are named `case|number`; a call has as many as it returns tensors.
"""
import pathlib
import sys

import numpy as np

from tests.frontend.calls import CASES, call

EXPECTED = pathlib.Path(__file__).with_name("expected.npz")


def main(path):
    """Compute every case, and write it to `path`."""
    from tf_keras import backend as K

    def constant(a):
        return K.constant(a, dtype=a.dtype.name)
    out = {}
    for case in CASES:
        got = call(K, case, constant, constant)
        for i, y in enumerate(got if isinstance(got, (list, tuple)) else [got]):
            out[f"{case}|{i}"] = np.asarray(K.eval(y))
    np.savez_compressed(path, **{f"a{n}": v for n, v in enumerate(out.values())}, names=np.array(list(out)))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[sys.argv.index("--out") + 1]) if "--out" in sys.argv else EXPECTED)
