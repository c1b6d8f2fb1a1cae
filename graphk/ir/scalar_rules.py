"""What a kernel may call: the arity and dtype rule of every scalar function.

In: a function's name and the dtypes of its operands.  Out: the dtype of the result, or a TypeError that says what was
expected.  What always holds: this is the specification that the verifier checks kernels by; the table of
intrinsics that targets implement (`graphk.codegen.scalars`) agrees with it, which a test compares entry by entry.
"""
from __future__ import annotations

BOOL, INTS, FLOATS = ("bool",), ("int32", "int64", "uint32"), ("float32", "float64")
NUMBERS = INTS + FLOATS
EVERY = BOOL + NUMBERS
HELD = EVERY + ("float16", "int8", "uint8", "int16", "uint16") # narrow: loaded, stored and cast, nothing else
SAME = ""                                  # the result has the operands' dtype

# names: (arity, dtypes that all operands share, dtype of the result)
_SPEC: tuple[tuple[str, int, tuple[str, ...], str], ...] = (
    ("add sub mul floordiv mod max min", 2, NUMBERS, SAME),
    ("div pow", 2, FLOATS, SAME),
    ("neg abs sign square", 1, NUMBERS, SAME),
    ("sqrt rsqrt exp expm1 log log1p tanh sigmoid erf sin cos floor ceil round", 1, FLOATS, SAME),
    ("round_bf16", 1, ("float32",), SAME),
    ("fma", 3, FLOATS, SAME),
    ("eq ne", 2, EVERY, "bool"),
    ("lt le gt ge", 2, NUMBERS, "bool"),
    ("and or", 2, BOOL, "bool"),
    ("not", 1, BOOL, "bool"),
    ("is_nan is_inf", 1, FLOATS, "bool"),
    ("bit_and bit_or bit_xor", 2, INTS, SAME),
    ("shl shr mulhi_u32 mullo_u32", 2, ("uint32",), SAME),
    ("philox2x32", 3, ("uint32",), SAME),
    ("u01", 1, ("uint32",), "float32"),
)
RULES = {name: (arity, allowed, result) for names, arity, allowed, result in _SPEC for name in names.split()}
NAMES = frozenset(RULES) | {"select"} | {f"cast:{d}" for d in HELD}


def result_dtype(fn: str, dtypes: tuple[str, ...]) -> str:
    """The dtype of `fn` on operands of `dtypes`.

    >>> result_dtype("lt", ("float32", "float32"))
    'bool'
    """
    if fn not in NAMES:
        raise TypeError(f"no scalar function is called `{fn}`; there are {', '.join(sorted(NAMES))}")
    if fn == "select":
        if len(dtypes) != 3 or dtypes[0] != "bool" or dtypes[1] != dtypes[2] or dtypes[1] not in EVERY:
            raise TypeError(f"`select` takes a bool and two operands of one dtype, received {_list(dtypes)}")
        return dtypes[1]
    if fn.startswith("cast:"):
        if len(dtypes) != 1 or dtypes[0] not in HELD:
            raise TypeError(f"`{fn}` takes one operand, of {_list(HELD)}, received {_list(dtypes)}")
        return fn[5:]
    arity, allowed, result = RULES[fn]
    if len(dtypes) != arity or len(set(dtypes)) != 1 or dtypes[0] not in allowed:
        raise TypeError(f"`{fn}` takes {arity} operand(s) of one dtype out of {_list(allowed)}, "
                        f"received {_list(dtypes)}")
    return result or dtypes[0]


def _list(dtypes: tuple[str, ...]) -> str:
    return "(" + ", ".join(dtypes) + ")"
