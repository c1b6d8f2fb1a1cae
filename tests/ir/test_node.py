"""Nodes: interning, immutability, provenance, traversal and rewriting."""
import gc

import numpy as np
import pytest

from graphk.ir.dims import sym
from graphk.ir.node import (ArrayValue, Graph, Origin, attr_symbols, bind_attr, bind_type, origin, origin_of, rewrite,
                            substitute_nodes, topological, users)
from graphk.ir.opdef import const, get_op
from graphk.ir.ops.elementwise import add, exp, mul, neg, tanh
from graphk.ir.ops.leaves import learning_phase, new_input, new_variable
from graphk.ir.types import TensorType, TupleType

F = TensorType("float32", (sym("n"), 3))


def test_equal_nodes_are_one_object():
    x = new_input(F)
    assert exp(x) is exp(x) and add(x, 1.0) is add(x, 1.0)
    assert add(x, 1.0) is not add(x, 2.0) and const(1.0) is const(1.0) and const(1.0) is not const(1)
    assert const(np.zeros(3)) is not const(np.zeros((1, 3))) and learning_phase() is learning_phase()


def test_constants_differ_by_bits_not_by_value():
    assert ArrayValue(np.float32(0.0)) != ArrayValue(np.float32(-0.0))
    assert ArrayValue(np.full(3, np.nan)) == ArrayValue(np.full(3, np.nan))


def test_leaves_never_merge():
    assert new_input(F, "x") is not new_input(F, "x") and new_variable(F, "w") is not new_variable(F, "w")


def test_nodes_are_freed():
    x = new_input(F)
    before = exp(mul(x, 3.0)).id
    gc.collect()
    assert exp(mul(x, 3.0)).id != before


def test_nodes_are_immutable():
    x = new_input(F)
    for name in ("op", "inputs", "attrs", "type", "id"):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(x, name, None)
    with pytest.raises(ValueError, match="read-only"):
        const(np.zeros(3)).attr("value").array[0] = 1


def test_a_constant_keeps_its_own_copy():
    a = np.zeros(3)
    c = const(a)
    a[0] = 5
    assert c.attr("value").array[0] == 0


def test_origin_is_the_users_line():
    x = new_input(F)
    y = exp(neg(x))
    assert "test_node.py:" in origin_of(y).line and origin_of(y).layer == ""


def test_the_command_that_pip_makes_is_no_line_of_a_user():
    names = {"exp": exp, "x": new_input(F)}
    exec(compile("y = exp(x)", "/somewhere/bin/graphk", "exec"), names)
    assert "test_node.py:" in origin_of(names["y"]).line


def test_origin_scopes_nest():
    x = new_input(F)
    with origin(layer="dense_1"):
        y = exp(x)
        with origin(rule="fold"):
            z = exp(y)
    assert origin_of(y).layer == "dense_1" and "test_node.py:" in origin_of(y).line
    assert origin_of(z) == Origin("dense_1", origin_of(y).line, "fold")
    with origin(like=y, rule="r"):
        assert origin_of(tanh(y)) == Origin("dense_1", origin_of(y).line, "r")


def test_repr_and_type_access():
    x = new_input(F)
    assert repr(exp(x)).endswith(f"f32[n,3] = exp(%{x.id})")
    assert (x.shape, x.dtype, x.ndim) == (F.shape, "float32", 2)


def test_topological_order_of_a_deep_graph():
    x = y = new_input(F)
    for _ in range(5000):                      # far deeper than Python's recursion limit
        y = neg(y)
    order = topological([y])
    assert len(order) == 5001 and order[0] is x and order[-1] is y
    assert users(order)[x] == [order[1]]


def test_rewrite_is_bottom_up():
    x = new_input(F)
    new = rewrite([exp(neg(neg(x)))], lambda n: n.inputs[0].inputs[0]
                  if n.op.name == "neg" and n.inputs[0].op.name == "neg" else None)
    assert new[exp(neg(neg(x)))] is exp(x)


def test_graph_lists_variables_and_substitutes():
    x, v, w = new_input(F), new_variable(F, "v"), new_variable(F, "w")
    g = Graph((x,), (add(x, v),), ((w, x),))
    assert g.variables() == [v, w]
    other = new_input(F)
    assert substitute_nodes(g, {x: other}).outputs[0] is add(other, v)


def test_dims_in_attributes_bind():
    n = sym("n")
    assert attr_symbols((1, (n * 2, "n"))) == {"n"}
    assert bind_attr((n * 2, ("a", n)), {"n": 3}) == (6, ("a", 3))
    assert bind_type(TupleType((F,)), {"n": 3}) == TupleType((TensorType("float32", (3, 3)),))


def test_unknown_op_suggests_near_names():
    with pytest.raises(KeyError, match="no op `softmaxx`; did you mean softmax"):
        get_op("softmaxx")
