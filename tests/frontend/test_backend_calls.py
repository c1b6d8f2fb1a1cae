"""Calls of `K` give what tf_keras 2.21 gives (`calls/record.py`), for known sizes and for sizes open until the call."""
import subprocess

import numpy as np
import pytest

from graphk import backend as K
from tests.frontend.calls import CASES, call
from tests.frontend.calls.record import EXPECTED


def load(path):
    """{case: arrays}."""
    stored, out = np.load(path), {}
    for n, name in enumerate(stored["names"]):
        out.setdefault(str(name).rpartition("|")[0], []).append(stored[f"a{n}"])
    return out


@pytest.fixture(scope="module")
def expected():
    return load(EXPECTED)


def constant(a):
    return K.constant(a, dtype=a.dtype.name)


def compare(got, want):
    assert len(got) == len(want)
    for g, w in zip(got, want):
        g = np.asarray(g)
        assert g.shape == w.shape and g.dtype == w.dtype
        np.testing.assert_allclose(g, w, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("case", CASES)
def test_with_known_sizes(expected, case):
    got = call(K, case, constant, constant)
    got = list(got) if isinstance(got, (list, tuple)) else [got]
    compare([K.eval(y) for y in got], expected[case])
    for y, w in zip(got, expected[case]):
        assert (K.int_shape(y), K.ndim(y), K.dtype(y)) == (w.shape, w.ndim, w.dtype.name)


@pytest.mark.parametrize("case", [c for c in CASES if any(f"{name}(" in c for name in "xpqib")])
def test_with_open_sizes(expected, case, monkeypatch):
    monkeypatch.setenv("GRAPHK_EXECUTOR", "interp")        # what the compiler makes of ops, tests of the ops say
    fed = []

    def open_placeholder(a):
        keep = any(name in case for name in ("bias_add", "batch_normalization", "transpose("))   # channels are known
        x = K.placeholder([None if d > 1 and not keep else d for d in a.shape], dtype=a.dtype.name)
        fed.append((x, a))
        return x
    got = call(K, case, open_placeholder, constant)
    got = list(got) if isinstance(got, (list, tuple)) else [got]
    f = K.function([x for x, _ in fed], got)
    compare(f([a for _, a in fed]), expected[case])


@pytest.mark.peers
def test_recorded_numbers_are_what_the_peer_computes(expected, tmp_path, peer):
    """Records again; GRAPHK_PEER names a Python that has tf_keras."""
    subprocess.run([peer, "-W", "ignore", "-m", "tests.frontend.calls.record", "--out", str(tmp_path / "again.npz")],
                   check=True, capture_output=True)
    again = load(tmp_path / "again.npz")
    assert set(again) == set(expected) == set(CASES)
    for case, want in expected.items():
        compare(again[case], want)
