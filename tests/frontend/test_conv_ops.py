"""K's convolutions, pooling and resizing against plain numpy loops, for every rank by the same tests."""
import itertools

import numpy as np
import pytest

from graphk import backend as K

RNG = np.random.RandomState(0)
CONV = {1: K.conv1d, 2: K.conv2d, 3: K.conv3d}
SIZES = {1: (9,), 2: (7, 6), 3: (5, 4, 6)}
WINDOW = {1: (3,), 2: (3, 2), 3: (2, 3, 2)}


def array(*shape):
    return RNG.randn(*shape).astype("float32")


def evaluate(fn, *arrays, open_axes=False):
    """fn's value for arrays fed through placeholders whose batch (and space, if open) is not known."""
    ins = [K.placeholder((None, *[None if open_axes else d for d in arrays[0].shape[1:-1]], arrays[0].shape[-1]))]
    ins += [K.variable(a) for a in arrays[1:]]
    y = fn(*ins)
    out = K.function(ins[:1], [y])([arrays[0]])[0]
    assert all(s in (None, d) for s, d in zip(K.int_shape(y), out.shape))
    return out


def rooms(length, size, stride, dilation, padding):
    """(windows, places in front) of one axis, as TensorFlow's documentation gives them."""
    span = (size - 1) * dilation + 1
    if padding == "valid":
        return (length - span) // stride + 1, 0
    if padding == "causal":
        return (length - 1) // stride + 1, span - 1
    count = -(-length // stride)
    return count, max((count - 1) * stride + span - length, 0) // 2


def patches(x, size, strides, dilations, padding, fill=0.0):
    """(n, *windows, *size, channels): what each window sees, `fill` outside."""
    rank = len(size)
    plan = [rooms(d, k, s, r, padding) for d, k, s, r in zip(x.shape[1:-1], size, strides, dilations)]
    out = np.full((x.shape[0], *[c for c, _ in plan], *size, x.shape[-1]), fill, x.dtype)
    for at in np.ndindex(*[c for c, _ in plan]):
        for place in np.ndindex(*size):
            where = [a * s + p * r - b for a, s, p, r, (_, b) in zip(at, strides, place, dilations, plan)]
            if all(0 <= w < d for w, d in zip(where, x.shape[1:-1])):
                out[(slice(None), *at, *place)] = x[(slice(None), *where)]
    assert rank == len(plan)
    return out


def convolved(x, w, strides, padding, dilations):
    rank = w.ndim - 2
    seen = patches(x, w.shape[:rank], strides, dilations, padding)
    return np.tensordot(seen, w, (tuple(range(1 + rank, 2 + 2 * rank)), tuple(range(rank + 1))))


def first(x):
    return np.moveaxis(x, -1, 1)


CASES = [(r, s, d, p) for r, (s, d), p in itertools.product((1, 2, 3), ((1, 1), (2, 1), (3, 1), (1, 2)),
                                                            ("valid", "same", "causal")) if p != "causal" or r == 1]


@pytest.mark.parametrize("rank,stride,dilation,padding", CASES)
def test_conv(rank, stride, dilation, padding):
    x, w = array(2, *SIZES[rank], 3), array(*WINDOW[rank], 3, 4)
    if padding == "valid" and rank == 3 and dilation > 1:
        x = array(2, 6, 7, 5, 3)
    want = convolved(x, w, (stride,) * rank, padding, (dilation,) * rank)

    def conv(a, b, data_format=None):
        return CONV[rank](a, b, (stride,) * rank, padding, data_format, (dilation,) * rank)
    np.testing.assert_allclose(evaluate(conv, x, w), want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(evaluate(conv, x, w, open_axes=True), want, rtol=1e-4, atol=1e-5)
    got = K.eval(conv(K.variable(first(x)), K.variable(w), "channels_first"))
    np.testing.assert_allclose(got, first(want), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rank,stride,padding,mode", list(itertools.product((2, 3), (1, 2, 3), ("valid", "same"),
                                                                            ("max", "avg"))))
def test_pool(rank, stride, padding, mode):
    x, pool, size = array(2, *SIZES[rank], 3) - 2, K.pool2d if rank == 2 else K.pool3d, WINDOW[rank]
    seen = patches(x, size, (stride,) * rank, (1,) * rank, padding, np.nan)
    axes = tuple(range(1 + rank, 1 + 2 * rank))
    want = (np.nanmax if mode == "max" else np.nanmean)(seen, axis=axes)
    for open_axes in (False, True):
        got = evaluate(lambda a: pool(a, size, (stride,) * rank, padding, pool_mode=mode), x, open_axes=open_axes)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    got = K.eval(pool(K.variable(first(x)), size, (stride,) * rank, padding, "channels_first", mode))
    np.testing.assert_allclose(got, first(want), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rank,stride,dilation,padding,extra", [
    (2, 1, 1, "valid", 0), (2, 2, 1, "valid", 0), (2, 3, 1, "valid", 1), (2, 1, 1, "same", 0), (2, 2, 1, "same", 0),
    (2, 2, 1, "same", -1), (2, 1, 2, "same", 0), (2, 3, 1, "same", 0), (3, 2, 1, "same", 0), (3, 2, 1, "valid", 0)])
def test_conv_transpose_is_the_gradient_of_conv(rank, stride, dilation, padding, extra):
    x, w = array(2, *(d - 2 for d in SIZES[rank]), 3), array(*WINDOW[rank], 4, 3)
    space = [d * stride + extra if padding == "same" else (d - 1) * stride + (k - 1) * dilation + 1 + extra
             for d, k in zip(x.shape[1:-1], WINDOW[rank])]
    shape = (2, *space, 4)
    want, probe = np.zeros(shape, "float32"), np.zeros(shape, "float32")
    for at in np.ndindex(*shape[1:]):                     # what a convolution makes of each place, times x
        probe[(slice(None), *at)] = 1
        want[(slice(None), *at)] = (convolved(probe, w, (stride,) * rank, padding, (dilation,) * rank) * x).sum(
            tuple(range(1, rank + 2)))
        probe[(slice(None), *at)] = 0

    def conv(a, b, data_format=None):
        out = shape if data_format is None else (2, 4, *space)
        more = {"dilation_rate": (dilation,) * 2} if rank == 2 else {}
        return (K.conv2d_transpose if rank == 2 else K.conv3d_transpose)(a, b, out, (stride,) * rank, padding,
                                                                         data_format, **more)
    np.testing.assert_allclose(K.eval(conv(K.variable(x), K.variable(w))), want, rtol=1e-4, atol=1e-5)
    got = K.eval(conv(K.variable(first(x)), K.variable(w), "channels_first"))
    np.testing.assert_allclose(got, first(want), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("many,stride,dilation,padding", [(1, 1, 1, "same"), (2, 2, 1, "valid"), (3, 1, 2, "same")])
def test_depthwise_and_separable(many, stride, dilation, padding):
    x, w, point = array(2, 7, 8, 3), array(3, 2, 3, many), array(1, 1, 3 * many, 5)
    want = np.concatenate([convolved(x[..., c:c + 1], w[:, :, c:c + 1], (stride,) * 2, padding, (dilation,) * 2)
                           for c in range(3)], -1)
    how = {"strides": (stride,) * 2, "padding": padding, "dilation_rate": (dilation,) * 2}
    np.testing.assert_allclose(evaluate(lambda a, b: K.depthwise_conv2d(a, b, **how), x, w), want, rtol=1e-4, atol=1e-5)
    got = evaluate(lambda a, b, c: K.separable_conv2d(a, b, c, **how), x, w, point)
    np.testing.assert_allclose(got, want @ point[0, 0], rtol=1e-4, atol=1e-4)
    got = K.eval(K.separable_conv2d(K.variable(first(x)), K.variable(w), K.variable(point),
                                    data_format="channels_first", **how))
    np.testing.assert_allclose(got, first(want @ point[0, 0]), rtol=1e-4, atol=1e-4)
    line = evaluate(lambda a, b, c: K.separable_conv1d(a, b, c, stride, padding, None, dilation), x[:, 0], w[0],
                    point[0])
    deep = np.concatenate([convolved(x[:, 0, :, c:c + 1], w[0, :, c:c + 1], (stride,), padding, (dilation,))
                           for c in range(3)], -1)
    np.testing.assert_allclose(line, deep @ point[0, 0], rtol=1e-4, atol=1e-4)


def test_local_conv():
    x, w = array(2, 7, 6, 3), array(6, 18, 4)
    seen = patches(x, (3, 2), (2, 3), (1, 1), "valid")
    want = np.einsum("nof,ofk->nok", seen.reshape(2, 6, 18), w).reshape(2, 3, 2, 4)
    got = evaluate(lambda a, b: K.local_conv2d(a, b, (3, 2), (2, 3), (3, 2)), x, w)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    turned = w.reshape(6, 3, 2, 3, 4).transpose(0, 3, 1, 2, 4).reshape(6, 18, 4)      # channels before window
    got = K.eval(K.local_conv2d(K.variable(first(x)), K.variable(turned), (3, 2), (2, 3), (3, 2), "channels_first"))
    np.testing.assert_allclose(got, first(want), rtol=1e-4, atol=1e-5)
    line, w = x[:, :, 0], array(3, 9, 4)
    want = np.einsum("nof,ofk->nok", patches(line, (3,), (2,), (1,), "valid").reshape(2, 3, 9), w)
    np.testing.assert_allclose(evaluate(lambda a, b: K.local_conv1d(a, b, (3,), (2,)), line, w), want, rtol=1e-4,
                               atol=1e-5)


def test_resize():
    x = array(2, 3, 4, 2)
    want = x.repeat(2, 1).repeat(3, 2)
    np.testing.assert_array_equal(K.eval(K.resize_images(K.variable(x), 2, 3)), want)
    got = K.eval(K.resize_images(K.variable(first(x)), 2, 3, "channels_first"))
    np.testing.assert_array_equal(got, first(want))
    want = np.empty((2, 6, 12, 2))
    for i, j in np.ndindex(6, 12):                        # TensorFlow 1's: no aligned corners, no half pixels
        (r, a), (c, b) = divmod(i / 2, 1), divmod(j / 3, 1)
        r, c = int(r), int(c)
        top, low = ((1 - b) * x[:, k, c] + b * x[:, k, min(c + 1, 3)] for k in (r, min(r + 1, 2)))
        want[:, i, j] = (1 - a) * top + a * low
    got = evaluate(lambda a: K.resize_images(a, 2, 3, interpolation="bilinear"), x, open_axes=True)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    v = array(1, 2, 2, 3, 2)
    np.testing.assert_array_equal(K.eval(K.resize_volumes(K.variable(v), 2, 1, 3)), v.repeat(2, 1).repeat(3, 3))


def slopes(fn, *arrays):
    """(gradients, central differences) of a sum of fn's value with fixed weights."""
    ins = [K.variable(a) for a in arrays]
    y = fn(*ins)
    loss = K.sum(y * K.constant(np.cos(np.arange(np.prod(K.int_shape(y)))).reshape(K.int_shape(y))))
    value, found = K.function([], [loss]), K.function([], K.gradients(loss, ins))([])
    for v, a, g in zip(ins, arrays, found):
        for at in list(np.ndindex(*a.shape))[::max(a.size // 5, 1)]:
            ends = []
            for step in (1e-2, -1e-2):
                moved = a.copy()
                moved[at] += step
                K.set_value(v, moved)
                ends.append(float(value([])[0]))
            K.set_value(v, a)
            assert g[at] == pytest.approx((ends[0] - ends[1]) / 2e-2, rel=2e-2, abs=1e-2), (a.shape, at)


@pytest.mark.parametrize("fn,shapes", [
    (lambda x, w: K.conv1d(x, w, 2, "causal"), [(2, 7, 2), (3, 2, 3)]),
    (lambda x, w: K.conv2d(x, w, (2, 2), "same"), [(2, 6, 7, 2), (3, 3, 2, 3)]),
    (lambda x, w: K.conv2d(x, w, padding="same", dilation_rate=2), [(2, 6, 7, 2), (3, 3, 2, 3)]),
    (lambda x, w: K.conv2d_transpose(x, w, (2, 8, 6, 3), (2, 2), "same"), [(2, 4, 3, 2), (3, 3, 3, 2)]),
    (lambda x, w: K.depthwise_conv2d(x, w, (2, 2), "same"), [(2, 6, 7, 2), (3, 3, 2, 2)]),
    (lambda x: K.pool2d(x, (3, 3), (2, 2), "same", pool_mode="avg"), [(2, 6, 7, 2)]),
    (lambda x: K.pool2d(x, (2, 2), (2, 2), "same"), [(2, 5, 4, 2)]),
    (lambda x, w: K.local_conv1d(x, w, (3,), (2,)), [(2, 7, 2), (3, 6, 4)]),
    (lambda x: K.resize_images(x, 2, 3, interpolation="bilinear"), [(1, 2, 3, 2)]),
], ids=["conv1d", "conv2d", "dilated", "transposed", "depthwise", "average", "max", "local", "bilinear"])
def test_gradients(fn, shapes):
    slopes(fn, *[array(*s) for s in shapes])


@pytest.mark.parametrize("call,match", [
    (lambda x, w: K.conv2d(x, w, padding="full"), "Invalid padding: full"),
    (lambda x, w: K.conv2d(x, w, padding="causal"), "Invalid padding: causal"),
    (lambda x, w: K.conv2d(x, w, strides=(1, 0)), "`strides`.*positive integer"),
    (lambda x, w: K.conv2d(x, w, data_format="last"), "channels_first"),
    (lambda x, w: K.conv1d(x, w), "takes a tensor of 3 axes"),
    (lambda x, w: K.conv2d(x, x), "kernel of shape"),
    (lambda x, w: K.pool2d(x, (2, 2), pool_mode="min"), "Invalid pooling mode: min"),
    (lambda x, w: K.resize_images(x, 2, 2, interpolation="cubic"), "interpolation should be one of"),
])
def test_mistakes(call, match):
    with pytest.raises(ValueError, match=match):
        call(K.zeros((2, 5, 5, 3)), K.zeros((3, 3, 3, 4)))


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_the_first_of_equal_places_gets_the_gradient_of_a_max_pool(padding):
    x = K.placeholder((None, 5, 5, 2))
    y = K.pool2d(x, (3, 3), (2, 2), padding=padding)
    a = np.random.RandomState(0).randint(0, 2, (3, 5, 5, 2)).astype("f")
    got, grad = K.function([x], [y, K.gradients(K.sum(y), [x])[0]])([a])
    want, out = np.zeros_like(a), np.zeros_like(got)
    before = 1 if padding == "same" else 0
    for n, i, j, c in np.ndindex(got.shape):
        rows, columns = (range(max(0, 2 * k - before), min(5, 2 * k - before + 3)) for k in (i, j))
        place = max(((r, s) for r in rows for s in columns), key=lambda p: (a[n, p[0], p[1], c], -p[0], -p[1]))
        out[n, i, j, c] = a[(n, *place, c)]
        want[(n, *place, c)] += 1
    np.testing.assert_array_equal(got, out)
    np.testing.assert_array_equal(grad, want)


def test_max_pool_of_infinities():
    a = np.array([[np.inf, 1, -np.inf, -np.inf, 2, np.inf]], "f")[:, :, None, None]
    got = K.eval(K.pool2d(K.constant(a), (2, 1), (2, 1)))
    np.testing.assert_array_equal(got[0, :, 0, 0], [np.inf, -np.inf, np.inf])
