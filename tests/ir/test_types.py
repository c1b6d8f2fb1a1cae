"""Types: text forms, properties and errors."""
import numpy as np
import pytest

from graphk.ir.dims import sym
from graphk.ir.types import DTYPES, ITEMSIZE, LONG, SHORT, TensorType, TupleType, parse_type, split_top

n = sym("n")


@pytest.mark.parametrize("t", [
    TensorType("float32", (n, 64)), TensorType("bool", ()), TensorType("int64", (0, 1)),
    TensorType("float16", (n * 2 + 1, sym("t"))),
    TupleType((TensorType("float32", (n,)), TensorType("uint8", (n // 2,)))), TupleType(()),
], ids=str)
def test_text_parses_back(t):
    assert parse_type(str(t)) == t


def test_every_dtype_has_a_short_name_and_size():
    assert set(LONG.values()) == DTYPES == set(SHORT) == set(ITEMSIZE)
    for name in DTYPES:
        assert parse_type(f"{SHORT[name]}[2]").dtype == name and ITEMSIZE[name] == np.dtype(name).itemsize


def test_properties():
    t = TensorType("float32", (n, 3))
    assert (t.ndim, t.size, t.is_float, t.symbols()) == (2, n * 3, True, {"n"})
    assert t.with_dtype("int32") == TensorType("int32", (n, 3)) and t.with_shape(()) == TensorType("float32", ())
    assert not TensorType("bool", ()).is_float and TensorType("bool", ()).size == 1


def test_types_are_values():
    assert TensorType("float32", (n,)) == TensorType("float32", (sym("n"),))
    assert len({TensorType("float32", (n,)), TensorType("float32", (sym("n"),))}) == 1
    with pytest.raises(AttributeError):
        TensorType("float32", ()).dtype = "int32"


def test_split_top_minds_brackets_and_quotes():
    assert split_top("a,(b,c),[d,e]") == ["a", "(b,c)", "[d,e]"]
    assert split_top("'x,y',\"z,\"") == ["'x,y'", '"z,"'] and split_top("") == []


@pytest.mark.parametrize("text", ["f32", "f33[2]", "f32[2", "f32[a b]", "float32[2]"])
def test_bad_text(text):
    with pytest.raises(ValueError, match="is not a"):
        parse_type(text)


def test_unknown_dtype():
    with pytest.raises(TypeError, match="unknown dtype 'complex64'; expected one of bool"):
        TensorType("complex64", ())
