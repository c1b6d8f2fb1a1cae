"""CTC: the loss against the sum over all alignments, its gradient against differences, decoded labels."""
import itertools

import numpy as np
import pytest

from graphk import backend as K
from graphk import layers as L
from graphk.models import Model


def collapse(path, blank):
    return tuple(c for i, c in enumerate(path) if c != blank and (i == 0 or path[i - 1] != c))


def by_alignments(p):
    """The probability of every labelling, from every alignment of one sample (time, classes)."""
    p = (p + 1e-7) / (p + 1e-7).sum(-1, keepdims=True)
    out = {}
    for path in itertools.product(range(p.shape[1]), repeat=len(p)):
        key = collapse(path, p.shape[1] - 1)
        out[key] = out.get(key, 0) + np.prod(p[range(len(p)), path])
    return out


def predictions(n=4, time=5, classes=4, seed=3):
    z = np.exp(2 * np.random.RandomState(seed).randn(n, time, classes))
    return z / z.sum(-1, keepdims=True)


LABELS, STEPS, COUNTS = [[0, 1, 2], [1, 1, -1], [2, 9, 9], [0, 0, 0]], [[5], [4], [3], [5]], [[3], [2], [1], [0]]


def symbolic():
    x = [K.placeholder((None, None)), K.placeholder((None, None, 4)), K.placeholder((None, 1)),
         K.placeholder((None, 1), dtype="int64")]
    return x, K.ctc_batch_cost(*x)


def test_loss_sums_all_alignments():
    p = predictions()
    x, cost = symbolic()
    got = K.function(x, [cost])([LABELS, p, STEPS, COUNTS])[0]
    want = [-np.log(by_alignments(q[:s])[tuple(y[:c])]) for q, y, (s,), (c,) in zip(p, LABELS, STEPS, COUNTS)]
    assert got.shape == (4, 1)
    np.testing.assert_allclose(got[:, 0], want, rtol=1e-4)
    np.testing.assert_allclose(K.eval(K.ctc_batch_cost(np.array(LABELS), K.constant(p), STEPS, COUNTS)), got, rtol=1e-6)


def test_gradient_by_differences():
    K.set_floatx("float64")
    p = predictions()
    x, cost = symbolic()
    total, slope = K.sum(cost), K.gradients(K.sum(cost), [x[1]])[0]
    f = K.function(x, [total, slope])
    grad = f([LABELS, p, STEPS, COUNTS])[1]
    for at in [(0, 0, 0), (0, 4, 3), (1, 2, 1), (1, 4, 1), (2, 1, 2), (3, 3, 3)]:
        ends = []
        for h in (1e-6, -1e-6):
            q = p.copy()
            q[at] += h
            ends.append(f([LABELS, q, STEPS, COUNTS])[0])
        np.testing.assert_allclose(grad[at], (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-7)


def test_labels_too_long_cost_inf_and_pass_no_gradient():
    x, cost = symbolic()
    f = K.function(x, [cost, K.gradients(K.sum(cost), [x[1]])[0]])
    loss, grad = f([[[1, 1]], predictions(1, 2), [[2]], [[2]]])
    assert np.isposinf(loss).all() and not grad.any()


def test_certain_predictions_have_finite_gradients():
    x, cost = symbolic()
    f = K.function(x, [cost, K.gradients(K.sum(cost), [x[1]])[0]])
    loss, grad = f([[[0, 2]], np.eye(4)[None, [0, 3, 2]], [[3]], [[2]]])
    assert np.allclose(loss, 0, atol=1e-5) and np.isfinite(grad).all()


def test_greedy_decoding():
    p = predictions(6, 7)
    steps = [7, 7, 5, 3, 1, 7]
    rows = [collapse(q[:s].argmax(-1), 3) for q, s in zip(p, steps)]
    longest = max(map(len, rows))
    (labels,), cost = K.ctc_decode(p, steps)
    got = K.get_value(labels)
    assert got.dtype == np.int64 and got.shape == (6, longest)
    assert [tuple(r[r >= 0]) for r in got] == rows
    want = [-np.log(q[:s].max(-1) + 1e-7).sum() for q, s in zip(p, steps)]
    np.testing.assert_allclose(K.get_value(cost)[:, 0], want, rtol=1e-5)
    x, n = K.placeholder((None, None, 4)), K.placeholder((None,), dtype="int32")
    (wide,), _ = K.ctc_decode(x, n)
    padded = K.function([x, n], [wide])([p, steps])[0]
    assert padded.shape == (6, 7) and (padded[:, longest:] == -1).all()
    np.testing.assert_array_equal(padded[:, :longest], got)


def test_beam_search_finds_the_likeliest_labellings():
    p = predictions(3, 4)
    paths, scores = K.ctc_decode(K.variable(p), [4, 4, 2], greedy=False, beam_width=400, top_paths=3)
    scores = K.get_value(scores)
    assert len(paths) == 3 and scores.shape == (3, 3)
    for i, steps in enumerate([4, 4, 2]):
        best = sorted(by_alignments(p[i, :steps]).items(), key=lambda kv: -kv[1])[:3]
        for k, (path, chance) in enumerate(best):
            row = K.get_value(paths[k])[i]
            assert tuple(row[row >= 0]) == path
            np.testing.assert_allclose(scores[i, k], np.log(chance), rtol=1e-4)


def test_beam_search_says_what_it_cannot_do():
    x = K.placeholder((None, None, 4))
    paths, _ = K.ctc_decode(x, [1], greedy=False)
    with pytest.raises(NotImplementedError, match=r"computes with what K.ctc_decode\(greedy=False\) finds"):
        K.function([x], [paths[0] + 1])
    with pytest.raises(ValueError, match="top_paths=9"):
        K.ctc_decode(predictions(1, 1), [1], greedy=False, top_paths=9)


def test_beam_search_as_output_of_a_function_and_of_a_model():
    p, steps = predictions(3, 4), np.array([[4], [4], [2]])
    want, scores = K.ctc_decode(p, steps, greedy=False, beam_width=20, top_paths=2)
    x, n = L.Input((None, 4)), L.Input((1,))
    found, chances = K.ctc_decode(x, n, greedy=False, beam_width=20, top_paths=2)
    assert K.int_shape(chances) == (None, 2) and K.dtype(found[1]) == "int64"
    twice, second, chance, first = K.function([x, n], [x * 2, found[1], chances, found[0]])([p, steps])
    np.testing.assert_array_equal(twice, 2 * p.astype("float32"))
    np.testing.assert_array_equal(first, K.eval(want[0]))
    np.testing.assert_array_equal(second, K.eval(want[1]))
    np.testing.assert_allclose(chance, K.eval(scores), rtol=1e-5)
    best = L.Lambda(lambda a: K.ctc_decode(a[0], a[1], greedy=False, beam_width=20)[0][0])([x, n])
    np.testing.assert_array_equal(Model([x, n], best).predict([p, steps]), first)
