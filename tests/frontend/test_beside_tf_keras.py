"""The table's layers, compiled (those with masks on the oracle): outputs and gradients as tf_keras 2.21 computes them.

The arrays are made by `layers/record.py`.
"""
import subprocess

import numpy as np
import pytest

from graphk import backend as K
from graphk import layers as L
from graphk.frontend.utils.generic_utils import to_list

from tests.frontend.layers import CASES, fill, inputs, make, masked, shapes, variants, wave
from tests.frontend.layers.record import EXPECTED


@pytest.fixture(scope="module")
def expected():
    return dict(np.load(EXPECTED))


def values(stored, case, variant):
    """A case's arrays, in order."""
    return [stored[k] for k in (f"{case}|{variant}|{i}" for i in range(99)) if k in stored]


@pytest.mark.parametrize("variant,case", [(v, c) for c in CASES for v in variants(c)])
def test_outputs_and_gradients(expected, case, variant, monkeypatch):
    if variant == "masked":
        monkeypatch.setenv("GRAPHK_EXECUTOR", "interp")       # compiling as many loops again would add little
    want = values(expected, case, variant)
    if not want:
        assert any(name in case for name in ("CuDNN", "MaxoutDense", "Highway", "ConvRNN2D", "SReLU", "Parametric")), \
            "record it"
        return
    layer, xs = make(L, case), [L.Input(s) for s in shapes(case)]
    seen = [L.Masking()(x) for x in xs] if variant == "masked" else xs
    ys = to_list(layer(seen if len(xs) > 1 else seen[0]))
    fill(layer)
    loss = sum(K.sum(y * K.constant(wave((2, *K.int_shape(y)[1:])))) for y in ys)
    moved = [*([] if case.startswith("Embedding") else xs), *layer.trainable_weights]
    f = K.function([*xs, K.learning_phase()], [*ys, *(K.gradients(loss, moved) if moved else [])])
    given = masked(inputs(case, 2)) if variant == "masked" else inputs(case, 2)
    got = f([*given, variant == "training"])
    assert [g.shape for g in got] == [w.shape for w in want]
    for i, (g, w) in enumerate(zip(got, want)):
        np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-5, err_msg=f"number {i}, after {len(ys)} outputs")


@pytest.mark.peers
def test_recorded_numbers_are_what_the_peer_computes(expected, tmp_path, peer):
    """Records again; GRAPHK_PEER names a Python that has tf_keras."""
    out = tmp_path / "expected.npz"
    subprocess.run([peer, "-W", "ignore", "-m", "tests.frontend.layers.record", "--out", str(out)], check=True,
                   capture_output=True)
    again = dict(np.load(out))
    assert set(again) == set(expected)
    for k, v in expected.items():
        np.testing.assert_allclose(again[k], v, rtol=1e-4, atol=1e-5, err_msg=k)
