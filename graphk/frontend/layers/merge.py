"""Layers that join several tensors: sums, products, concatenation, dot products.

In: a list of tensors.  Out: one tensor.  What always holds: elementwise joins broadcast as numpy does,
lower ranks getting axes after the batch axis.
"""
from __future__ import annotations

from typing import Any, Sequence

from graphk.frontend import backend as K
from graphk.frontend.engine.base_layer import Layer
from graphk.frontend.layers import arguments
from graphk.frontend.tensor import Tensor


class _Merge(Layer):
    """Base of the elementwise joins: subclasses define `_merge_function`."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def _merge_function(self, inputs: Sequence[Tensor]) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define _merge_function")

    def _joined_shape(self, a: Any, b: Any) -> Any:
        if None in (a, b):
            return None
        if len(a) < len(b):
            a, b = b, a
        if not b:
            return a
        out = list(a[:-len(b)])
        for i, j in zip(a[-len(b):], b):
            if i is None or j is None:
                out.append(None)
            elif i == 1 or j == 1:
                out.append(j if i == 1 else i)
            elif i != j:
                raise ValueError(f"Operands could not be broadcast together with shapes {a} {b} (layer {self.name}): "
                                 "sizes must be equal, or 1")
            else:
                out.append(i)
        return tuple(out)

    def build(self, input_shape: Any) -> None:
        if not isinstance(input_shape, list):
            raise ValueError("A merge layer should be called on a list of inputs. (layer " + self.name + "): pass at "
                             "least 2, as in layer([a, b])")
        if len(input_shape) < 2:
            raise ValueError("A merge layer should be called on a list of at least 2 inputs. Got "
                             f"{len(input_shape)} inputs. (layer {self.name})")
        batches = {s[0] for s in input_shape if s is not None} - {None}
        if len(batches) > 1:
            raise ValueError("Can not merge tensors with different batch sizes. Got tensors with shapes : "
                             + str(input_shape))
        self._fold_shapes(input_shape)
        self.built = True

    def _fold_shapes(self, shapes: list[Any]) -> Any:
        out = None if shapes[0] is None else tuple(shapes[0][1:])
        for s in shapes[1:]:
            out = self._joined_shape(out, None if s is None else tuple(s[1:]))
        return out

    def call(self, inputs: Any) -> Tensor:
        if not isinstance(inputs, list) or len(inputs) < 2:
            raise ValueError("A merge layer should be called on a list of at least 2 inputs. (layer " + self.name + ")"
                             f", as in layer([a, b]); received {inputs}")
        self._fold_shapes([K.int_shape(x) for x in inputs])            # a layer that is shared was built on others
        rank = max(x.ndim for x in inputs)
        wide = []
        for x in inputs:
            for _ in range(rank - x.ndim):
                x = K.expand_dims(x, axis=1)
            wide.append(x)
        return self._merge_function(wide)

    def compute_output_shape(self, input_shape: Any) -> Any:
        batches = {s[0] for s in input_shape if s is not None} - {None}
        return (batches.pop() if len(batches) == 1 else None,) + tuple(self._fold_shapes(input_shape))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The AND of the masks that are not None."""
        _check_masks(inputs, mask)
        masks = [K.cast(m, "bool") for m in mask or [] if m is not None]
        if not masks:
            return None
        out = masks[0]
        for m in masks[1:]:
            out = out & m
        return out


def _check_masks(inputs: Any, mask: Any) -> None:
    if mask is None:
        return
    if not isinstance(mask, list):
        raise ValueError("`mask` should be a list.")
    if not isinstance(inputs, list):
        raise ValueError("`inputs` should be a list.")
    if len(mask) != len(inputs):
        raise ValueError("The lists `inputs` and `mask` should have the same length.")


def _reduce(fn: Any, xs: Sequence[Tensor]) -> Tensor:
    out = xs[0]
    for x in xs[1:]:
        out = fn(out, x)
    return out


class Add(_Merge):
    """The sum of its inputs.

    >>> from graphk.layers import Input
    >>> Add()([Input((3,)), Input((3,))]).shape
    (None, 3)
    """

    def _merge_function(self, inputs: Sequence[Tensor]) -> Tensor:
        return _reduce(lambda a, b: a + b, inputs)


class Subtract(_Merge):
    """The first of two inputs minus the second.

    >>> K.eval(Subtract()([K.variable([[3.]]), K.variable([[1.]])])).tolist()
    [[2.0]]
    """

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        if len(input_shape) != 2:
            raise ValueError(f"A `Subtract` layer should be called on exactly 2 inputs. Got {len(input_shape)} (layer "
                             f"{self.name})")

    def _merge_function(self, inputs: Sequence[Tensor]) -> Tensor:
        if len(inputs) != 2:
            raise ValueError("A `Subtract` layer should be called on exactly 2 inputs")
        return inputs[0] - inputs[1]


class Multiply(_Merge):
    """The product of its inputs.

    >>> K.eval(Multiply()([K.variable([[3.]]), K.variable([[2.]])])).tolist()
    [[6.0]]
    """

    def _merge_function(self, inputs: Sequence[Tensor]) -> Tensor:
        return _reduce(lambda a, b: a * b, inputs)


class Average(_Merge):
    """The mean of its inputs.

    >>> K.eval(Average()([K.variable([[3.]]), K.variable([[1.]])])).tolist()
    [[2.0]]
    """

    def _merge_function(self, inputs: Sequence[Tensor]) -> Tensor:
        return _reduce(lambda a, b: a + b, inputs) / float(len(inputs))


class Maximum(_Merge):
    """The largest of its inputs.

    >>> K.eval(Maximum()([K.variable([[3., 1.]]), K.variable([[2., 2.]])])).tolist()
    [[3.0, 2.0]]
    """

    def _merge_function(self, inputs: Sequence[Tensor]) -> Tensor:
        return _reduce(K.maximum, inputs)


class Minimum(_Merge):
    """The smallest of its inputs.

    >>> K.eval(Minimum()([K.variable([[3., 1.]]), K.variable([[2., 2.]])])).tolist()
    [[2.0, 1.0]]
    """

    def _merge_function(self, inputs: Sequence[Tensor]) -> Tensor:
        return _reduce(K.minimum, inputs)


class Concatenate(_Merge):
    """Its inputs one after another along `axis`.

    >>> Concatenate(axis=1)([K.placeholder((None, 2, 3)), K.placeholder((None, 4, 3))]).shape
    (None, 6, 3)
    """

    def __init__(self, axis: int = -1, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = arguments.axis(self, "axis", axis)

    def build(self, input_shape: Any) -> None:
        if not isinstance(input_shape, list) or len(input_shape) < 2:
            raise ValueError("A `Concatenate` layer should be called on a list of at least 2 inputs (layer "
                             + self.name + ")")
        if any(s is not None for s in input_shape):
            self._check_shapes(input_shape)
        self.built = True

    def _check_shapes(self, input_shape: Any) -> None:
        rank = len(input_shape[0])
        if not -rank <= self.axis < rank:
            raise ValueError(f"The layer {self.name} joins along axis {self.axis}, but its inputs have {rank} axes ("
                             f"batch axis included): {input_shape}. Expected {-rank} to {rank - 1}.")
        rests = [tuple(d for i, d in enumerate(s) if i != self.axis % len(s)) for s in input_shape]
        first = rests[0]
        if any(len(r) != len(first) or any(a is not None and b is not None and a != b for a, b in zip(r, first))
               for r in rests):
            raise ValueError(
                "A `Concatenate` layer requires inputs with matching shapes except for the concat axis. Got "
                f"inputs shapes: {input_shape} (layer {self.name}, axis {self.axis})"
            )

    def call(self, inputs: Any) -> Tensor:
        if not isinstance(inputs, list):
            raise ValueError("A `Concatenate` layer should be called on a list of inputs.")
        self._check_shapes([K.int_shape(x) for x in inputs])
        return K.concatenate(inputs, axis=self.axis)

    def compute_output_shape(self, input_shape: Any) -> Any:
        if not isinstance(input_shape, list):
            raise ValueError("A `Concatenate` layer should be called on a list of inputs.")
        out = list(input_shape[0])
        for s in input_shape[1:]:
            a, b = out[self.axis], s[self.axis]
            out[self.axis] = None if a is None or b is None else a + b
        return tuple(out)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Masks (all ones where there is none) concatenated like the inputs, AND over the last axis."""
        _check_masks(inputs, mask)
        if mask is None or all(m is None for m in mask):
            return None
        masks = []
        for x, m in zip(inputs, mask):
            if m is None:
                masks.append(K.cast(K.ones_like(x), "bool"))
            elif m.ndim < x.ndim:
                masks.append(K.expand_dims(K.cast(m, "bool"), -1) & K.cast(K.ones_like(x), "bool"))
            else:
                masks.append(K.cast(m, "bool"))
        return K.all(K.concatenate(masks, axis=self.axis), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


class Dot(_Merge):
    """The product of two inputs, sample by sample, over `axes` (an int or a pair).

    normalize: divide by the lengths along these axes first (then it is a cosine).

    >>> K.eval(Dot(1)([K.variable([[1., 2.]]), K.variable([[3., 4.]])])).tolist()
    [[11.0]]
    """

    def __init__(self, axes: Any, normalize: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        if not isinstance(axes, int):
            if not isinstance(axes, (list, tuple)):
                raise TypeError(f"Invalid type for `axes` - should be a list or an int. Received: {axes!r:.200}")
            if len(axes) != 2:
                raise ValueError(f"Invalid format for `axes` - should contain two elements. Received: {axes!r:.200}")
            if not all(isinstance(a, int) for a in axes):
                raise ValueError("Invalid format for `axes` - list elements should be \"int\".")
        self.axes, self.normalize = axes, normalize

    def _pair(self, a: int, b: int) -> list[int]:
        axes = [self.axes, self.axes] if isinstance(self.axes, int) else list(self.axes)
        return [axes[0] % a, axes[1] % b]

    def build(self, input_shape: Any) -> None:
        if not isinstance(input_shape, list) or len(input_shape) != 2:
            raise ValueError("A `Dot` layer should be called on a list of 2 inputs.")
        a, b = input_shape
        for axis, shape in zip([self.axes] * 2 if isinstance(self.axes, int) else self.axes, input_shape):
            if not -len(shape) <= axis < len(shape):
                raise ValueError(f"The layer {self.name} multiplies along axis {axis}, but its input has the shape "
                                 f"{shape} (batch axis included). Expected {-len(shape)} to {len(shape) - 1}.")
        i, j = self._pair(len(a), len(b))
        if a[i] is not None and b[j] is not None and a[i] != b[j]:
            raise ValueError(f"Dimension incompatibility {a[i]} != {b[j]}. Layer shapes: {a}, {b} (layer {self.name}, "
                             f"axes {i} and {j})")
        self.built = True

    def _merge_function(self, inputs: Sequence[Tensor]) -> Tensor:
        if len(inputs) != 2:
            raise ValueError("A `Dot` layer should be called on exactly 2 inputs")
        x, y = inputs
        i, j = self._pair(x.ndim, y.ndim)
        if self.normalize:
            x, y = K.l2_normalize(x, axis=i), K.l2_normalize(y, axis=j)
        return K.batch_dot(x, y, [i, j])

    def call(self, inputs: Any) -> Tensor:
        return self._merge_function(inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        if not isinstance(input_shape, list) or len(input_shape) != 2:
            raise ValueError("A `Dot` layer should be called on a list of 2 inputs.")
        a, b = input_shape
        x, y = (K.placeholder(shape, name="shape") for shape in input_shape)       # K.batch_dot has the only rule
        return (a[0],) + K.batch_dot(x, y, self._pair(len(a), len(b))).shape[1:]

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """None."""
        return None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axes": self.axes, "normalize": self.normalize}


def add(inputs: list[Tensor], **kwargs: Any) -> Tensor:
    """`Add()(inputs)`."""
    return Add(**kwargs)(inputs)


def subtract(inputs: list[Tensor], **kwargs: Any) -> Tensor:
    """`Subtract()(inputs)`."""
    return Subtract(**kwargs)(inputs)


def multiply(inputs: list[Tensor], **kwargs: Any) -> Tensor:
    """`Multiply()(inputs)`."""
    return Multiply(**kwargs)(inputs)


def average(inputs: list[Tensor], **kwargs: Any) -> Tensor:
    """`Average()(inputs)`."""
    return Average(**kwargs)(inputs)


def maximum(inputs: list[Tensor], **kwargs: Any) -> Tensor:
    """`Maximum()(inputs)`."""
    return Maximum(**kwargs)(inputs)


def minimum(inputs: list[Tensor], **kwargs: Any) -> Tensor:
    """`Minimum()(inputs)`."""
    return Minimum(**kwargs)(inputs)


def concatenate(inputs: list[Tensor], axis: int = -1, **kwargs: Any) -> Tensor:
    """`Concatenate(axis)(inputs)`."""
    return Concatenate(axis=axis, **kwargs)(inputs)


def dot(inputs: list[Tensor], axes: Any, normalize: bool = False, **kwargs: Any) -> Tensor:
    """`Dot(axes, normalize)(inputs)`."""
    return Dot(axes=axes, normalize=normalize, **kwargs)(inputs)
