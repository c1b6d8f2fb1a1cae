"""`tf.einsum`, diagonals and measures of images, beside numpy."""
from __future__ import annotations

import numpy as np
import pytest

from graphk import backend as K

tf = K.tf


def numbers(*shape: int) -> np.ndarray:
    return np.random.RandomState(sum(shape)).rand(*shape).astype("float32")


@pytest.mark.parametrize("equation,shapes", [
    ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]), ("ij,kj->ik", [(3, 4), (5, 4)]), ("ij->ji", [(2, 3)]),
    ("ij->i", [(2, 3)]), ("bhid,bhjd->bhij", [(2, 2, 3, 4), (2, 2, 5, 4)]), ("i,j->ij", [(2,), (3,)]),
    ("i,i->", [(4,), (4,)]), ("ijk,jil->kl", [(2, 3, 4), (3, 2, 5)]),
    ("...ij,...jk->...ik", [(2, 6, 3, 4), (2, 6, 4, 5)]), ("ij,jk", [(2, 3), (3, 4)]),
    ("ab,bc,cd->ad", [(2, 3), (3, 4), (4, 5)]), ("bi,bij,bj->b", [(2, 3), (2, 3, 4), (2, 4)]),
    ("ij,k->k", [(2, 3), (4,)]), ("bi,bj->ij", [(2, 3), (2, 4)]), ("ij,ij->ij", [(2, 3), (2, 3)]),
    ("b...,b->...", [(2, 3, 4), (2,)]), ("ba", [(2, 3)])])
def test_sums_of_products(equation: str, shapes: list[tuple[int, ...]]) -> None:
    arrays = [numbers(*s) for s in shapes]
    inputs = [K.placeholder((None, *s[1:])) for s in shapes]
    y = tf.einsum(equation, *inputs)
    slopes = K.gradients(K.sum(K.square(y)), inputs)
    want = np.einsum(equation, *arrays)
    out, *got = K.function(inputs, [y, *slopes])(arrays)
    np.testing.assert_allclose(out, want, rtol=1e-5)
    for slope, a in zip(got, arrays):                  # each operand is there once: the sum is of second degree in it
        np.testing.assert_allclose((slope * a).sum(), 2 * np.square(want).sum(), rtol=1e-4)


@pytest.mark.parametrize("equation,shapes,message", [
    ("ij,jk->ik", [(2, 3)], "names 2 operands, received 1"), ("ii->i", [(3, 3)], "each once"),
    ("ij->ik", [(2, 3)], "letters 'ik' of the result"), ("ij->i", [(2, 3, 4)], "for each of 3 axes"),
    ("i...,...->i", [(2, 3), (4, 3)], "expected as many"), ("A...->A", [(2, 3)], "small ones")])
def test_equations_that_are_none(equation: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tf.einsum(equation, *[K.constant(numbers(*s)) for s in shapes])


def test_diagonals() -> None:
    x = numbers(2, 3, 3)
    np.testing.assert_array_equal(K.eval(tf.eye(2, 3, batch_shape=[2])), np.broadcast_to(np.eye(2, 3), (2, 2, 3)))
    np.testing.assert_array_equal(K.eval(tf.matrix_diag(x[0])), np.stack([np.diag(r) for r in x[0]]))
    np.testing.assert_array_equal(K.eval(tf.diag(x[0, 0])), np.diag(x[0, 0]))
    np.testing.assert_array_equal(K.eval(tf.linalg.diag_part(x)), np.stack([np.diag(m) for m in x]))
    np.testing.assert_allclose(K.eval(tf.trace(x)), np.trace(x, axis1=1, axis2=2), rtol=1e-6)
    y = K.placeholder((None, 4))
    assert K.function([y], [tf.eye(K.shape(y)[0])])([np.zeros((3, 4))])[0].tolist() == np.eye(3).tolist()
    for wrong, message in ((lambda: tf.diag(x[0]), "a vector"), (lambda: tf.trace(x[0, :2]), "square")):
        with pytest.raises(ValueError, match=message):
            wrong()


def test_measures_of_images() -> None:
    """Those of `ssim` were computed by TensorFlow 2.21."""
    a, b = (np.random.RandomState(i).rand(2, 16, 18, 3).astype("f") for i in (0, 1))
    want = -10 * np.log10(np.square(a - b).mean((1, 2, 3)))
    np.testing.assert_allclose(K.eval(tf.image.psnr(a, b, 1.)), want, rtol=1e-5)
    np.testing.assert_allclose(K.eval(tf.image.ssim(a, b, 1.)), [-0.0097678, -0.0061804], atol=1e-5)
    np.testing.assert_allclose(K.eval(tf.image.ssim(a, a, 1.)), 1, atol=1e-5)
    want = np.abs(np.diff(a, axis=1)).sum((1, 2, 3)) + np.abs(np.diff(a, axis=2)).sum((1, 2, 3))
    np.testing.assert_allclose(K.eval(tf.image.total_variation(a)), want, rtol=1e-5)
    np.testing.assert_allclose(K.eval(tf.image.total_variation(a[0])), want[0], rtol=1e-5)
    np.testing.assert_allclose(K.eval(tf.image.rgb_to_grayscale(a))[..., 0], a @ [.2989, .587, .114], rtol=1e-5)
    np.testing.assert_array_equal(K.eval(tf.image.flip_left_right(a)), a[:, :, ::-1])
    np.testing.assert_array_equal(K.eval(tf.image.flip_up_down(a[0])), a[0, ::-1])
    for wrong in (lambda: tf.image.psnr(a.astype("int32"), b, 1.), lambda: tf.image.ssim(a[0], b[0], 1.),
                  lambda: tf.image.rgb_to_grayscale(a[..., :2])):
        with pytest.raises(ValueError, match="tf.image.*takes"):
            wrong()
