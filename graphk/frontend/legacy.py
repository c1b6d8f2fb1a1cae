"""Keras 1 calls as Keras 2 calls: one table of names, one wrapper around constructors and methods.

In: classes whose `__init__` (or functions whose arguments) have new names.  Out: the same, which also take the old
names, with a UserWarning that shows the new call.  What always holds: a name that the class takes today is never
translated; an old name beside its new one is a TypeError; a call in today's names costs one set lookup per keyword.
"""
from __future__ import annotations

import functools
import inspect
import warnings
from types import ModuleType
from typing import Any, Callable, Iterable, Sequence

import numpy as np

from graphk.frontend.backend.creation import kept_uids
from graphk.frontend.utils.advice import advice, keywords, keywords_of
from graphk.frontend.utils.blame import naming
from graphk.frontend.utils.generic_utils import has_arg

# old name -> new names, tried in order; the first that the class takes
RENAMED: dict[str, tuple[str, ...]] = {
    "output_dim": ("units",), "nb_filter": ("filters",), "subsample": ("strides",), "subsample_length": ("strides",),
    "stride": ("strides",), "border_mode": ("padding",), "dim_ordering": ("data_format",),
    "init": ("depthwise_initializer", "kernel_initializer", "embeddings_initializer", "alpha_initializer"),
    "inner_init": ("recurrent_initializer",), "inner_activation": ("recurrent_activation",),
    "W_regularizer": ("depthwise_regularizer", "kernel_regularizer", "embeddings_regularizer", "alpha_regularizer"),
    "U_regularizer": ("recurrent_regularizer",), "b_regularizer": ("bias_regularizer",),
    "W_constraint": ("depthwise_constraint", "kernel_constraint", "embeddings_constraint", "alpha_constraint"),
    "U_constraint": ("recurrent_constraint",), "b_constraint": ("bias_constraint",), "bias": ("use_bias",),
    "p": ("rate",), "sigma": ("stddev",), "pool_length": ("pool_size",), "length": ("size",),
    "filter_length": ("kernel_size",), "dropout_W": ("dropout",), "dropout_U": ("recurrent_dropout",),
    "consume_less": ("implementation",), "forget_bias_init": ("unit_forget_bias",), "atrous_rate": ("dilation_rate",),
    "beta_init": ("beta_initializer",), "gamma_init": ("gamma_initializer",), "input_dtype": ("dtype",)}
VALUES: dict[str, dict[Any, Any]] = {
    "dim_ordering": {"tf": "channels_last", "th": "channels_first", "default": None},
    "consume_less": {"cpu": 0, "mem": 1, "gpu": 2},
    "forget_bias_init": {"one": True, "ones": True, "zero": False, "zeros": False}}
SIZES = (("nb_row", "nb_col"), ("kernel_dim1", "kernel_dim2", "kernel_dim3"))
DROPPED = {"Embedding": ("dropout",), "Conv2DTranspose": ("output_shape",), "Conv3DTranspose": ("output_shape",)}
ALSO = {"depthwise_initializer": "pointwise_initializer", "depthwise_regularizer": "pointwise_regularizer",
        "depthwise_constraint": "pointwise_constraint"}


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    text = "array" if isinstance(value, np.ndarray) else str(value)
    return text if len(text) <= 10 else text[:10] + "..."


def _warn(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    call = ", ".join([*map(_shown, args), *(f"{k}={_shown(v)}" for k, v in kwargs.items())])
    warnings.warn(f"Update your `{name}` call to the Keras 2 API: `{name}({call})`", stacklevel=3)


def _put(kwargs: dict[str, Any], name: str, old: str, new: str, value: Any) -> None:
    if new in kwargs:
        raise TypeError(f"`{name}` received both `{old}`, the Keras 1 name, and `{new}`, the Keras 2 name of the same "
                        f"argument; keep only `{new}`")
    kwargs[new] = value


def _value(name: str, old: str, value: Any) -> Any:
    table = VALUES.get(old)
    if table is None:
        return value
    if not isinstance(value, str) or value not in table:
        if old == "forget_bias_init":
            warnings.warn(f"The `forget_bias_init` argument of `{name}` has become the bool `unit_forget_bias`; "
                          f"{value!r} is taken as False", stacklevel=4)
            return False
        raise ValueError(f"`{old}` of `{name}` is {value!r}; Keras 1 knew {', '.join(map(repr, table))}")
    return table[value]


def translate(owner: type, args: tuple[Any, ...], kwargs: dict[str, Any]
              ) -> tuple[tuple[Any, ...], dict[str, Any], bool]:
    """Arguments in today's names, and whether that changed any."""
    known, name, changed = _known(owner), owner.__name__, False
    if "output_shape" in DROPPED.get(name, ()) and isinstance(args[-1] if len(args) > 3 else None, tuple):
        kwargs = {**kwargs, "output_shape": args[-1]}
        args = args[:-1]
    if "kernel_size" in known:
        args, kwargs, changed = _kernel_size(name, args, kwargs)
    for old in [k for k in kwargs if k not in known]:
        new = next((n for n in RENAMED.get(old, ()) if n in known), None)
        if new is not None:
            value = _value(name, old, kwargs.pop(old))
            _put(kwargs, name, old, new, value)
            if new in ALSO and ALSO[new] in known:
                kwargs.setdefault(ALSO[new], value)
            changed = True
        elif old in DROPPED.get(name, ()):
            kwargs.pop(old)
            warnings.warn(f"The `{old}` argument of `{name}` no longer exists and is ignored", stacklevel=3)
            changed = True
    return args, kwargs, _special(owner, name, known, kwargs) or changed


def _special(owner: type, name: str, known: frozenset[str], kwargs: dict[str, Any]) -> bool:
    """What is more than a name."""
    if name == "BatchNormalization" and "mode" in kwargs:
        if kwargs["mode"] != 0:
            raise TypeError("The `mode` argument of `BatchNormalization` no longer exists: only what mode=0 did does. "
                            f"Received mode={kwargs['mode']!r}; for feature-wise use give `axis`")
        kwargs.pop("mode")
        return True
    sides = ("top_pad", "bottom_pad", "left_pad", "right_pad")
    if name == "ZeroPadding2D" and isinstance(kwargs.get("padding"), dict):
        given = kwargs["padding"]
        if not set(given) <= set(sides):
            raise ValueError(f"`padding` of `ZeroPadding2D` has the keys {sorted(given)}; a dict takes "
                             f"{', '.join(sides)}")
        top, bottom, left, right = (given.get(s, 0) for s in sides)
        kwargs["padding"] = ((top, bottom), (left, right))
        return True
    if "input_length" in kwargs and "input_length" not in known and "input_shape" not in kwargs:
        kwargs["input_shape"] = (kwargs.pop("input_length"), kwargs.pop("input_dim", None))
        return True
    return False


def _kernel_size(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
                 ) -> tuple[tuple[Any, ...], dict[str, Any], bool]:
    """`(64, 3, 3)`, `(64, nb_row=3, nb_col=3)` and the three of a volume as `kernel_size`."""
    for names in SIZES:
        given = [k for k in names if k in kwargs]
        places = args[1:1 + len(names) - len(given)]
        if len(places) + len(given) < len(names) or not all(isinstance(p, (int, np.integer)) for p in places):
            continue
        if not given and (len(args) != 1 + len(names) or not _rank_of(name) == len(names)):
            continue
        size = (*places, *(kwargs.pop(k) for k in given))
        _put(kwargs, name, "/".join(names), "kernel_size", size)
        return args[:1], kwargs, True
    return args, kwargs, False


def _rank_of(name: str) -> int:
    """Of a convolution's window, by the layer's name."""
    return next((int(d) for d in "123" if d + "D" in name), 0)


@functools.lru_cache(maxsize=None)
def _known(owner: type) -> frozenset[str]:
    from graphk.frontend.engine.base_layer import _ALLOWED
    known = keywords(owner)
    return frozenset(known | _ALLOWED - ({"input_dtype"} if "dtype" in known else set()))


def modernize(cls: type) -> type:
    """The class, whose constructor now takes Keras 1's names, too."""
    init: Any = cls.__init__                       # type: ignore[misc]
    if not hasattr(cls.__dict__.get("__init__"), "keras1"):
        cls.__init__ = translated(init, cls)                                  # type: ignore[misc]
    return cls


def translated(init: Callable[..., None], owner: type | None = None) -> Callable[..., None]:
    """The constructor `init` of `owner`, or of whatever class it is called for, that takes Keras 1's names, too."""
    @functools.wraps(init)
    def keras1(self: Any, *args: Any, **kwargs: Any) -> None:
        cls = owner or type(self)
        if not kwargs.keys() <= _known(cls) or len(args) > 2 or "padding" in kwargs:
            args, kwargs, changed = translate(cls, args, kwargs)
            if changed:
                _warn(cls.__name__, args, kwargs)
        name = kwargs.get("name")
        kind = type(self).__name__
        with kept_uids(), naming(str(name or kind), lambda: f"in {kind}" + (f" `{name}`" if name else "")):
            init(self, *args, **kwargs)
    keras1.keras1 = True                                                      # type: ignore[attr-defined]
    return keras1


def renamed(function: Callable[..., Any], names: dict[str, str]) -> Callable[..., Any]:
    """A function, method or constructor that takes arguments by their old names, too; those of `GONE` are dropped."""
    gone = GONE.keys() - keywords_of(function)
    known = {*gone, *names, *keywords_of(function)}
    takes_all = has_arg(function, "", accept_all=True)
    own = int("self" in inspect.signature(function).parameters)

    @functools.wraps(function)
    def keras1(*args: Any, **kwargs: Any) -> Any:
        for k in [k for k in kwargs if k in gone]:
            kwargs.pop(k)
            warnings.warn(f"The `{k}` argument of `{function.__name__}` no longer exists and is ignored; {GONE[k]}",
                          stacklevel=2)
        old = [k for k in kwargs if k in names]
        if old:
            name = type(args[0]).__name__ if function.__name__ == "__init__" else function.__name__
            for k in old:
                _put(kwargs, name, k, names[k], _value(name, k, kwargs.pop(k)))
            if "samples_per_epoch" in old:
                kwargs["steps_per_epoch"] = _steps(kwargs["steps_per_epoch"],
                                                   args[1] if len(args) > 1 else kwargs.get("generator"))
            _warn(name, args[own:], kwargs)
        for k in kwargs:
            if k not in known and not takes_all:
                raise TypeError(f"{function.__name__}() got an unexpected keyword argument '{k}'"
                                + advice(k, keywords_of(function), "arguments"))
        return function(*args, **kwargs)
    return keras1


def raise_duplicate_arg_error(old_arg: str, new_arg: str) -> None:
    """TypeError for an argument that came by both its names."""
    raise TypeError(f"For the `{new_arg}` argument, the layer received both the legacy keyword argument `{old_arg}` "
                    f"and "
                    f"the Keras 2 keyword argument `{new_arg}`. Stick to the latter!")


def generate_legacy_interface(
        allowed_positional_args: Sequence[str] | None = None, conversions: Sequence[tuple[str, str]] | None = None,
        preprocessor: Callable[..., Any] | None = None, value_conversions: dict[str, dict[Any, Any]] | None = None,
        object_type: str = "class") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator of functions and (object_type='class') methods that take arguments by old names, too.

    allowed_positional_args: all that may come without a name; conversions: pairs (old name, new name);
    value_conversions: by name, what becomes of old values; preprocessor: takes (args, kwargs), returns them and a list
    of what it changed.
    """
    def decorator(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def keras1(*args: Any, **kwargs: Any) -> Any:
            own = int(object_type == "class")
            name = type(args[0]).__name__ if own else function.__name__
            converted: Any = []
            if preprocessor is not None:
                args, kwargs, converted = preprocessor(args, kwargs)
            if allowed_positional_args is not None and len(args) > len(allowed_positional_args) + own:
                raise TypeError(f"`{name}` can accept only {len(allowed_positional_args)} positional arguments "
                                f"{tuple(allowed_positional_args)}, but you passed the following positional arguments: "
                                f"{list(args[own:])}")
            for key, table in (value_conversions or {}).items():
                if key in kwargs:
                    kwargs[key] = table.get(kwargs[key], kwargs[key])
            for old, new in conversions or ():
                if old in kwargs and new in kwargs:
                    raise_duplicate_arg_error(old, new)
                if old in kwargs:
                    kwargs[new] = kwargs.pop(old)
                    converted = [*converted, (old, new)]
            if converted:
                _warn(name, args[own:], kwargs)
            return function(*args, **kwargs)
        return keras1
    return decorator


def _steps(samples: int, generator: Any) -> int:
    """Keras 1 counted samples; only a generator that knows its batch size lets us count batches."""
    size = getattr(generator, "batch_size", None)
    if size:
        return samples // size
    warnings.warn("The `steps_per_epoch` of the Keras 2 API counts batches, `samples_per_epoch` counted samples. "
                  f"The generator has no `batch_size` to convert {samples} with, so as many batches are taken",
                  stacklevel=3)
    return samples


GENERATORS = {"samples_per_epoch": "steps_per_epoch", "val_samples": "steps", "nb_epoch": "epochs",
              "nb_val_samples": "validation_steps", "nb_worker": "workers", "pickle_safe": "use_multiprocessing",
              "max_q_size": "max_queue_size"}
GONE = {"show_accuracy": 'pass metrics=["accuracy"] to `compile`', "class_mode": "the loss says as much"}
LAYOUT = {"dim_ordering": "data_format"}
ENDS = {"input": "inputs", "output": "outputs"}
WINDOWS = {"border_mode": "padding", **LAYOUT}
OF_K: dict[str, dict[str, str]] = {
    "random_normal": {"std": "stddev"}, "random_uniform": {"low": "minval", "high": "maxval"},
    "conv1d": {"stride": "strides", "border_mode": "padding"},
    **dict.fromkeys(("conv2d", "conv3d", "conv2d_transpose", "separable_conv2d", "pool2d", "pool3d"), WINDOWS),
    **dict.fromkeys(("resize_images", "resize_volumes", "spatial_2d_padding", "spatial_3d_padding"), LAYOUT)}


def shape_first(add_weight: Callable[..., Any]) -> Callable[..., Any]:
    """`add_weight(name, shape, …)` that may be called as Keras 1's `add_weight(shape, initializer, name)`, too."""
    @functools.wraps(add_weight)
    def keras1(self: Any, *args: Any, **kwargs: Any) -> Any:
        if args and isinstance(args[0], (tuple, list)):
            from graphk.frontend.initializers import _TABLE
            second = args[1:2]
            named = bool(second) and isinstance(second[0], str) and second[0] not in _TABLE
            names = ("shape", "name") if named else ("shape", "initializer", "name", "trainable")
            args, kwargs = (), {**dict(zip(names, args)), **kwargs}
        return add_weight(self, *args, **kwargs)
    return keras1


def modernize_methods(cls: type, methods: Iterable[str], names: dict[str, str] = GENERATORS) -> None:
    """Methods of a model that take Keras 1's names."""
    for method in methods:
        setattr(cls, method, renamed(getattr(cls, method), names))


def modernize_functions(module: ModuleType) -> None:
    """Functions of K that take Keras 1's names."""
    for name, names in OF_K.items():
        setattr(module, name, renamed(getattr(module, name), names))


__all__ = ["generate_legacy_interface", "modernize", "modernize_functions", "modernize_methods",
           "raise_duplicate_arg_error", "renamed", "shape_first", "translate", "translated"]
