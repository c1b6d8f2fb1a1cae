"""Layers with drawn arguments against references that do one place at a time, in plain numpy.

Every run checks, too, that the declared shape is the computed one, with sizes known and open.
"""
import itertools
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from graphk import backend as K
from graphk import layers as L

from tests.frontend.layers import fill

few = settings(max_examples=50, derandomize=True, deadline=None,
               suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
ranks, formats = st.integers(1, 3), st.sampled_from(["channels_last", "channels_first"])


@pytest.fixture(autouse=True, scope="module")
def on_the_oracle():
    before = os.environ.get("GRAPHK_EXECUTOR")
    os.environ["GRAPHK_EXECUTOR"] = "interp"
    yield
    os.environ["GRAPHK_EXECUTOR"] = before or "cpu"


@pytest.fixture(autouse=True)
def in_float64():
    K.set_floatx("float64")


def data(*shape, at=0):
    return np.random.RandomState(at).randn(*shape)


def run(layer, *arrays, open_axes=(), dtype=None):
    """The layer's output, whose shape is the declared one; `open_axes` are not known beforehand."""
    xs = [L.Input(tuple(None if i in open_axes else d for i, d in enumerate(a.shape) if i), dtype=dtype)
          for a in arrays]
    y = layer(xs if len(xs) > 1 else xs[0])
    if layer.weights:
        fill(layer)
    out = K.function(xs, [y])(list(arrays))[0]
    shapes = [a.shape for a in arrays]
    assert tuple(layer.compute_output_shape(shapes if len(xs) > 1 else shapes[0])) == out.shape
    declared = K.int_shape(y)
    assert len(declared) == out.ndim and all(d in (None, n) for d, n in zip(declared, out.shape))
    assert open_axes or declared == (None, *out.shape[1:])
    return out


def close(got, want):
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-10)


# ------------------------------------------------------------------ windows
def pads(n, k, s, d, padding):
    """(zeros before, zeros after, number of windows) along one axis."""
    span = (k - 1) * d + 1
    if padding == "valid":
        return 0, 0, (n - span) // s + 1
    count = -(-n // s)
    total = max((count - 1) * s + span - n, 0)
    return (span - 1, 0, count) if padding == "causal" else (total // 2, total - total // 2, count)


def windows(x, kernel, strides, dilation, padding, fill_with=0.):
    """(samples, *windows, *kernel, channels) of (samples, *space, channels), one window at a time."""
    plan = [pads(n, k, s, d, padding) for n, k, s, d in zip(x.shape[1:-1], kernel, strides, dilation)]
    x = np.pad(x, [(0, 0), *[p[:2] for p in plan], (0, 0)], constant_values=fill_with)
    out = np.empty((len(x), *[p[2] for p in plan], *kernel, x.shape[-1]))
    for at in itertools.product(*[range(p[2]) for p in plan]):
        rows = [slice(a * s, a * s + (k - 1) * d + 1, d) for a, s, k, d in zip(at, strides, kernel, dilation)]
        out[(slice(None), *at)] = x[(slice(None), *rows)]
    return out


def as_format(layer, x, data_format, rank, opened=False):
    """What a layer of that data_format makes of `x`, which has channels last, as does the result."""
    first = data_format == "channels_first"
    space = range(2, 2 + rank) if first else range(1, 1 + rank)
    out = run(layer, np.moveaxis(x, -1, 1) if first else x, open_axes=space if opened else ())
    return np.moveaxis(out, 1, -1) if first and out.ndim > 2 else out


@st.composite
def geometry(draw, strided=True):
    """(rank, sizes, kernel, strides, dilation, padding, data_format): windows that fit."""
    rank = draw(ranks)
    each = st.tuples(*[st.integers(1, 3)] * rank)
    kernel, dilation = draw(each), draw(each) if draw(st.booleans()) else (1,) * rank
    strides = draw(each) if strided and dilation == (1,) * rank else (1,) * rank
    padding = draw(st.sampled_from(["valid", "same"] + ["causal"] * (rank == 1)))
    least = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)] if padding == "valid" else [1] * rank
    sizes = tuple(n + draw(st.integers(0, 3)) for n in least)
    return rank, sizes, kernel, strides, dilation, padding, "channels_last" if padding == "causal" else draw(formats)


@few
@given(geometry(), st.booleans())
def test_convolution(drawn, opened):
    rank, sizes, kernel, strides, dilation, padding, data_format = drawn
    layer = getattr(L, f"Conv{rank}D")(3, kernel, strides=strides, padding=padding, dilation_rate=dilation,
                                       data_format=data_format, activation="tanh")
    x = data(2, *sizes, 2)
    got = as_format(layer, x, data_format, rank, opened)
    w, b = layer.get_weights()
    taken = windows(x, kernel, strides, dilation, padding)
    close(got, np.tanh(np.tensordot(taken, w, rank + 1) + b))


@few
@given(geometry(), st.integers(1, 2), st.booleans())
def test_depthwise_and_separable_convolution(drawn, multiplier, separable):
    rank, sizes, kernel, strides, dilation, padding, data_format = drawn
    assume(rank < 3 and len(set(strides)) == 1 and padding != "causal")
    more = {"strides": strides, "padding": padding, "data_format": data_format, "depth_multiplier": multiplier}
    if rank == 1 or separable:
        layer = getattr(L, f"SeparableConv{rank}D")(3, kernel, dilation_rate=dilation, **more)
    else:
        assume(set(dilation) == {1})
        layer = L.DepthwiseConv2D(kernel, **more)
    x = data(2, *sizes, 2)
    got = as_format(layer, x, data_format, rank)
    depthwise, *pointwise, b = layer.get_weights()
    taken = windows(x, kernel, strides, dilation, padding)
    want = np.stack([np.tensordot(taken[..., c], depthwise[..., c, :], rank) for c in range(2)], -2)
    want = want.reshape(*want.shape[:-2], -1)
    close(got, (want @ pointwise[0].reshape(2 * multiplier, 3) if pointwise else want) + b)


@few
@given(st.integers(2, 3), st.data())
def test_transposed_convolution_is_the_adjoint(rank, draw):
    """<transposed(x), y> is <x, convolution(y)> for all y: each input place adds its kernel at its stride."""
    each = st.tuples(*[st.integers(1, 3)] * rank)
    sizes, kernel, strides = draw.draw(each), draw.draw(each), draw.draw(each)
    padding, data_format = draw.draw(st.sampled_from(["valid", "same"])), draw.draw(formats)
    layer = getattr(L, f"Conv{rank}DTranspose")(2, kernel, strides=strides, padding=padding, data_format=data_format,
                                                use_bias=False)
    x = data(2, *sizes, 3)
    got = as_format(layer, x, data_format, rank, draw.draw(st.booleans()))
    assert got.shape[1:-1] == tuple(n * s if padding == "same" else n * s + max(k - s, 0)
                                    for n, s, k in zip(sizes, strides, kernel))
    y = data(*got.shape, at=1)
    taken = windows(y, kernel, strides, (1,) * rank, padding)
    back = np.tensordot(taken, layer.get_weights()[0], (range(-rank - 1, 0), range(rank + 1)))
    np.testing.assert_allclose((got * y).sum(), (back * x).sum(), rtol=1e-9, atol=1e-9)


@few
@given(geometry(), st.booleans(), st.booleans())
def test_pooling(drawn, largest, opened):
    rank, sizes, kernel, strides, dilation, padding, data_format = drawn
    assume(padding != "causal" and set(dilation) == {1})
    layer = getattr(L, f"{'Max' if largest else 'Average'}Pooling{rank}D")(kernel, strides, padding, data_format)
    x = data(2, *sizes, 2)
    got = as_format(layer, x, data_format, rank, opened)
    taken = windows(x, kernel, strides, dilation, padding, np.nan)
    axes = tuple(range(-rank - 1, -1))
    close(got, np.nanmax(taken, axes) if largest else np.nanmean(taken, axes))


@few
@given(ranks, st.booleans(), formats, st.booleans())
def test_global_pooling(rank, largest, data_format, opened):
    x = data(2, *range(3, 3 + rank), 2)
    layer = getattr(L, f"Global{'Max' if largest else 'Average'}Pooling{rank}D")(data_format=data_format)
    got = as_format(layer, x, data_format, rank, opened)
    close(got, (np.max if largest else np.mean)(x, axis=tuple(range(1, 1 + rank))))


@few
@given(geometry())
def test_local_convolution(drawn):
    rank, sizes, kernel, strides, dilation, padding, _ = drawn
    assume(rank < 3 and padding == "valid" and set(dilation) == {1})
    layer = getattr(L, f"LocallyConnected{rank}D")(2, kernel, strides=strides)
    x = data(2, *sizes, 3)
    got = run(layer, x)
    w, b = layer.get_weights()
    taken = windows(x, kernel, strides, dilation, padding)
    places = taken.shape[1:1 + rank]
    taken = taken.reshape(2, int(np.prod(places)), -1)
    close(got, np.einsum("npk,pkf->npf", taken, w).reshape(2, *places, 2) + b)


# ------------------------------------------------------------------ space
@few
@given(ranks, formats, st.booleans(), st.data())
def test_padding_cropping_upsampling(rank, data_format, opened, draw):
    """An int, one per axis, or a pair per axis."""
    pair = st.tuples(st.integers(0, 2), st.integers(0, 2))
    how = draw.draw(st.one_of(st.integers(0, 2), *([pair] if rank == 1 else [st.tuples(*[st.integers(0, 2)] * rank),
                                                                           st.tuples(*[pair] * rank)])))
    pairs = [(how, how)] * rank if isinstance(how, int) else [how] if rank == 1 else \
        [(p, p) if isinstance(p, int) else p for p in how]
    size = draw.draw(st.one_of(st.integers(1, 3), st.tuples(*[st.integers(1, 3)] * rank)) if rank > 1
                     else st.integers(1, 3))
    x = data(2, *range(5, 5 + rank), 2)
    cut = tuple(slice(a, n - b) for (a, b), n in zip(pairs, x.shape[1:]))
    repeated = x
    for i in range(rank):
        repeated = np.repeat(repeated, size if isinstance(size, int) else size[i], i + 1)
    for kind, argument, want in (("ZeroPadding", how, np.pad(x, [(0, 0), *pairs, (0, 0)])),
                                 ("Cropping", how, x[(slice(None), *cut)]), ("UpSampling", size, repeated)):
        more = {} if rank == 1 else {"data_format": data_format}
        layer = getattr(L, f"{kind}{rank}D")(argument, **more)
        close(as_format(layer, x, "channels_last" if rank == 1 else data_format, rank,
                        opened), want)


@few
@given(st.integers(1, 3), st.integers(1, 3), formats, st.booleans())
def test_bilinear_upsampling(rows, columns, data_format, opened):
    """Along lines between neighbours, from the first place on; after the last one it stays flat."""
    x = data(2, 4, 3, 2)
    want = x
    for axis, factor in ((1, rows), (2, columns)):
        old, new = np.arange(x.shape[axis]), np.arange(x.shape[axis] * factor) / factor
        want = np.apply_along_axis(lambda v, at=new, of=old: np.interp(at, of, v), axis, want)
    layer = L.UpSampling2D((rows, columns), data_format, interpolation="bilinear")
    close(as_format(layer, x, data_format, 2, opened), want)


# ------------------------------------------------------------------ axes
@few
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_permute_reshape_flatten(sizes, draw):
    x = data(2, *sizes)
    dims = draw.draw(st.permutations(range(1, len(sizes) + 1)))
    close(run(L.Permute(dims), x), x.transpose(0, *dims))
    parts = draw.draw(st.permutations(sizes))
    close(run(L.Reshape(parts), x), x.reshape(2, *parts))
    unknown = draw.draw(st.integers(0, len(parts) - 1))
    close(run(L.Reshape([-1 if i == unknown else p for i, p in enumerate(parts)]), x), x.reshape(2, *parts))
    if len(sizes) > 1:
        close(run(L.Flatten(), x), x.reshape(2, -1))
        moved = np.moveaxis(x, 1, -1)
        close(run(L.Flatten(data_format="channels_first"), x), moved.reshape(2, -1))
    n = draw.draw(st.integers(1, 3))
    flat = x.reshape(2, -1)
    close(run(L.RepeatVector(n), flat), np.stack([flat] * n, 1))


@few
@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.data())
def test_concatenate(sizes, draw):
    axis = draw.draw(st.integers(1, len(sizes)))
    xs = []
    for n in draw.draw(st.lists(st.integers(1, 3), min_size=2, max_size=3)):
        shape = list(sizes)
        shape[axis - 1] = n
        xs.append(data(2, *shape, at=n))
    given_axis = draw.draw(st.sampled_from([axis, axis - len(sizes) - 1]))
    opened = range(1, len(sizes)) if draw.draw(st.booleans()) else ()
    close(run(L.Concatenate(given_axis), *xs, open_axes=opened), np.concatenate(xs, axis))


@few
@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.data())
def test_merges_broadcast(sizes, draw):
    """Sizes of 1 stretch; missing axes come after the batch's."""
    shapes = [[1 if draw.draw(st.booleans()) else n for n in sizes][draw.draw(st.integers(0, len(sizes) - 1)):]
              for _ in range(draw.draw(st.integers(2, 3)))]
    xs = [data(2, *s, at=i) for i, s in enumerate(shapes)]
    rank = max(x.ndim for x in xs)
    wide = np.broadcast_arrays(*[x.reshape(2, *(1,) * (rank - x.ndim), *x.shape[1:]) for x in xs])
    for layer, want in ((L.Add(), sum(wide)), (L.Multiply(), np.prod(wide, 0)), (L.Average(), np.mean(wide, 0)),
                        (L.Maximum(), np.max(wide, 0)), (L.Minimum(), np.min(wide, 0))):
        close(run(layer, *xs), want)
    if len(xs) == 2:
        close(run(L.Subtract(), *xs), wide[0] - wide[1])


@few
@given(st.integers(2, 3), st.integers(2, 3), st.booleans(), st.data())
def test_dot_and_batch_dot(m, n, normalize, draw):
    """Sample by sample, a tensordot."""
    i, j = draw.draw(st.integers(1, m - 1)), draw.draw(st.integers(1, n - 1))
    a, b = (list(draw.draw(st.lists(st.integers(1, 3), min_size=r - 1, max_size=r - 1))) for r in (m, n))
    a[i - 1] = b[j - 1] = draw.draw(st.integers(1, 3))
    x, y = data(2, *a), data(2, *b, at=1)

    def product(x, y):
        out = np.stack([np.tensordot(p, q, (i - 1, j - 1)) for p, q in zip(x, y)])
        return out.reshape(2, 1) if out.ndim == 1 else out
    u, v = L.Input(tuple(a)), L.Input(tuple(b))
    close(K.function([u, v], [K.batch_dot(u, v, (i, j))])([x, y])[0], product(x, y))
    axes = draw.draw(st.sampled_from([(i, j), (i - m, j - n), *([i] if i == j else [])]))
    if normalize:
        unit = [t / np.sqrt(np.maximum((t ** 2).sum(k, keepdims=True), 1e-12)) for t, k in ((x, i), (y, j))]
        close(run(L.Dot(axes, normalize=True), x, y), product(*unit))
    else:
        close(run(L.Dot(axes), x, y), product(x, y))


@few
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.data())
def test_layers_along_an_axis(sizes, draw):
    axis = draw.draw(st.integers(1, len(sizes)))
    given_axis = draw.draw(st.sampled_from([axis, axis - len(sizes) - 1]))
    x = data(2, *sizes)
    e = np.exp(x - x.max(axis, keepdims=True))
    close(run(L.Softmax(given_axis), x), e / e.sum(axis, keepdims=True))
    layer = L.BatchNormalization(given_axis)
    got = run(layer, x)
    full = [-1 if i == axis else 1 for i in range(x.ndim)]
    gamma, beta, mean, var = (w.reshape(full) for w in layer.get_weights())
    close(got, gamma * (x - mean) / np.sqrt(var + 1e-3) + beta)
    shared = draw.draw(st.sets(st.integers(1, len(sizes))))
    layer = L.PReLU(shared_axes=sorted(shared))
    got = run(layer, x)
    (alpha,) = layer.get_weights()
    assert alpha.shape == tuple(1 if i + 1 in shared else n for i, n in enumerate(sizes))
    close(got, np.where(x > 0, x, alpha * x))


@few
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 3))
def test_embedding_takes_rows(sizes, width):
    layer = L.Embedding(7, width)
    x = np.random.RandomState(0).randint(0, 7, (2, *sizes))
    got = run(layer, x, dtype="int32")
    close(got, layer.get_weights()[0][x])


# ------------------------------------------------------------------ time
@few
@given(st.integers(1, 5), st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_recurrence_goes_step_by_step(time, sequences, backwards, unroll, masked, start):
    """Masked steps leave the state, and give the output before once more; the first one gives the state that it found,
    or zeros if steps are written out, as Keras 2.2 does on TensorFlow."""
    layer = L.SimpleRNN(3, return_sequences=sequences, return_state=True, go_backwards=backwards, unroll=unroll)
    x, h = L.Input((time, 2)), L.Input((3,))
    seen = L.Masking()(x) if masked else x
    ys = layer(seen, initial_state=h if start else None)
    fill(layer)
    w, u, b = layer.get_weights()
    a, first = data(2, time, 2), data(2, 3, at=1)
    a[0, time // 2:] = 0.
    got = K.function([x, h], ys)([a, first])
    state = first if start else np.zeros((2, 3))
    out, outs = np.zeros((2, 3)) if unroll else state, []
    for t in reversed(range(time)) if backwards else range(time):
        keep = a[:, t].any(-1, keepdims=True) if masked else np.ones((2, 1), bool)
        new = np.tanh(a[:, t] @ w + state @ u + b)
        out, state = np.where(keep, new, out), np.where(keep, new, state)
        outs.append(out)
    close(got[1], state)
    close(got[0], np.stack(outs, 1) if sequences else out)


@few
@given(st.lists(st.integers(2, 4), min_size=1, max_size=3), st.data())
def test_dropout_shares_its_mask_along_axes_of_one(sizes, draw):
    shape = [draw.draw(st.sampled_from([None, 1, n])) for n in sizes]
    x = L.Input(tuple(sizes))
    y = L.Dropout(.5, noise_shape=(None, *shape), seed=1)(x)
    out = K.function([x, K.learning_phase()], [y])([np.ones((2, *sizes)), 1])[0]
    assert set(np.unique(out)) <= {0., 2.}
    for i, d in enumerate(shape):
        if d == 1:
            assert (out == out.take([0], i + 1)).all()
