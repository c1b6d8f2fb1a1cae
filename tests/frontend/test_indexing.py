"""`x[...]` and `K.slice` from places that are computed in the graph, beside numpy."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphk import backend as K

A = np.arange(24.0).reshape(2, 3, 4).astype("f")
CASES: list[tuple[Any, Any]] = [
    (lambda x, i: x[:, i], lambda i: A[:, i]),
    (lambda x, i: x[0, i:i + 2, 1], lambda i: A[0, i:i + 2, 1]),
    (lambda x, i: K.slice(x, [0, i, 0], [-1, 2, -1]), lambda i: A[:, i:i + 2]),
    (lambda x, i: x[..., i, :][:, ::-1], lambda i: A[..., i, :][:, ::-1]),
    (lambda x, i: x[:, i - 1:1 + i], lambda i: A[:, i - 1:i + 1]),
    (lambda x, i: x[1:, i, None, i + 1:i + 1 + 1], lambda i: A[1:, i, None, i + 1:i + 2]),
]


@pytest.mark.parametrize("graph,numpy", CASES, ids=range(len(CASES)))
def test_elements_from_a_computed_place(graph: Any, numpy: Any) -> None:
    x, i = K.placeholder((2, 3, 4)), K.placeholder((), dtype="int32")
    y = graph(x, i)
    run = K.function([x, i], [y, K.gradients(K.sum(K.square(y)), [x])[0]])
    out, slope = run([A, 1])
    np.testing.assert_array_equal(out, numpy(1))
    assert K.int_shape(y) == out.shape
    assert slope.sum() == pytest.approx(2 * out.sum())


def test_places_count_from_the_end_where_they_are_negative() -> None:
    x, i = K.constant(A), K.placeholder((), dtype="int32")
    out = K.function([i], [x[:, i], x[:, i - 1:i]])([-1])
    np.testing.assert_array_equal(out[0], A[:, -1])
    np.testing.assert_array_equal(out[1], A[:, -2:-1])


@pytest.mark.parametrize("dtype,at", [("int8", -2), ("int8", 126), ("uint8", 254), ("int64", 298)])
def test_places_of_small_types_reach_all_of_a_longer_axis(dtype: str, at: int) -> None:
    x, i = K.constant(np.arange(300.0)), K.placeholder((), dtype=dtype)
    one, two = K.function([i], [x[i], K.slice(x, [i], [2])])([at])
    assert (float(one), two.tolist()) == (at % 300, [at % 300, at % 300 + 1])


def test_a_step_of_a_loop_looks_at_places_that_its_state_counts() -> None:
    """What CRF layers do: the mask of a step and of the next."""
    x, seq = K.placeholder((None, 5)), K.placeholder((None, 4, 1))

    def step(_: Any, states: Any) -> Any:
        i = K.cast(states[0][0, 0], "int32")
        pair = K.slice(states[1], [0, i], [-1, 2])
        return K.sum(pair, axis=1, keepdims=True), [states[0] + 1]

    out = K.rnn(step, seq, [K.zeros_like(seq[:, 0])], constants=[x])[1]
    values = np.random.RandomState(0).rand(3, 5).astype("f")
    got = K.function([x, seq], [out])([values, np.zeros((3, 4, 1))])[0]
    np.testing.assert_allclose(got[:, :, 0], values[:, :4] + values[:, 1:], rtol=1e-6)


@pytest.mark.parametrize("wrong", [lambda x, i: x[:, i:], lambda x, i: x[:, :i], lambda x, i: x[:, i:i + 2:2],
                                   lambda x, i: x[i:2], lambda x, i: x[i + 1:i]])
def test_how_many_must_be_known(wrong: Any) -> None:
    with pytest.raises(TypeError, match="cannot tell how many elements"):
        wrong(K.constant(A), K.placeholder((), dtype="int32"))
    with pytest.raises(TypeError, match="a start that is computed, that of axis 1, is not known"):
        K.slice(K.constant(A), [0, K.placeholder((), dtype="int32"), 0], [1, -1, 1])
