"""The verifier: valid graphs pass; each rule and predicate is broken once."""
import numpy as np
import pytest

from graphk.ir import verify
from graphk.ir.dims import sym
from graphk.ir.node import Graph, Node, make, origin
from graphk.ir.opdef import REGISTRY
from graphk.ir.ops.control import item, phase_select, scan, scan_op
from graphk.ir.ops.elementwise import add, exp, neg
from graphk.ir.ops.leaves import learning_phase, new_input, new_variable
from graphk.ir.ops.nn import softmax
from graphk.ir.ops.reduce import sum_
from graphk.ir.ops.shape import iota
from graphk.ir.types import TensorType
from graphk.ir.verify import VerifyError, all_shapes_bound, no_composites, no_phase, verify_graph
from tests.graphs import random_graph

n, m = sym("n"), sym("m")
F = TensorType("float32", (n, 3))


@pytest.mark.parametrize("seed", range(20))
def test_valid_graphs_pass(seed):
    verify_graph(random_graph(seed)[0], ensures=[no_phase, all_shapes_bound])


def body(inputs, outputs):
    return Graph(tuple(inputs), tuple(outputs), name="body")


def scan_with(inner):
    h0, xs = new_input(F, "h0"), new_input(TensorType("float32", (m, n, 3)), "xs")
    attrs = {"body": inner, "n_carry": 1, "n_xs": 1, "length": m, "reverse": False}
    node = make(scan_op, (h0, xs), tuple(sorted(attrs.items())))
    return Graph((h0, xs), (item(node, 0),))


def test_valid_scan_passes():
    h, x = new_input(F), new_input(F)
    verify_graph(scan_with(body((h, x), (add(h, x),))), ensures=verify.PREDICATES)


def broken():
    """(rule, graph, part of the message) for each rule."""
    x, y, v, w = new_input(F, "x"), new_input(F, "y"), new_variable(F, "v"), new_variable(F, "w")
    exp_ = REGISTRY["exp"]
    yield "inputs_declared", Graph((x,), (add(x, y),)), "the input `y` is read but is not among"
    yield "inputs_declared", Graph((x, x), (exp(x),)), "declared as an input twice"
    yield "inputs_declared", Graph((v,), (exp(v),)), "must be `input` or `phase` nodes, received a `variable`"
    yield "nodes_interned", Graph((x,), (Node(exp_, (x,), (), F),)), "not built by calling its op"
    wrong = make(exp_, (y,), (), TensorType("float32", (n, 4)))
    yield "types_match", Graph((y,), (wrong,)), r"typed f32\[n,4\], but its op infers f32\[n,3\]"
    yield "types_match", Graph((y,), (make(exp_, (y,), (), TensorType("float32", (n + 1, 3))),)), r"typed f32\[n\+1,3\]"
    yield "types_match", Graph((y,), (make(exp_, (y,), (), F.with_dtype("int32")),)), "typed i32"
    yield "types_match", Graph((y,), (make(exp_, (y,), (("z", 1),), F),)), "operands: it got an unexpected .* 'z'"
    yield "types_match", Graph((x,), (make(REGISTRY["reshape"], (sum_(x, axes=0),), (("shape", (5,)),),
                                           TensorType("float32", (5,))),)), "does not take these operands"
    two = scan(body((a := new_input(F),), (exp(a),)), [x], [], length=2)[0].inputs[0]
    yield "outputs_are_tensors", Graph((x,), (two,)), "must be a tensor"
    yield "updates_target_variables", Graph((x,), (), ((x, x),)), "must target a variable, received a `input`"
    yield "updates_target_variables", Graph((x,), (), ((v, x), (v, exp(x)))), "`v` is updated twice"
    yield "updates_target_variables", Graph((x,), (), ((w, sum_(x)),)), r"`w` of type f32\[n,3\] with .* type f32\[\]"
    yield "symbols_known", Graph((x,), (iota(m),)), r"symbolic dim\(s\) m are in no shape .*known: n"
    yield "symbols_known", Graph((x,), (x,), guards=((n, m),)), "the guard n == m speaks of m"
    h, s = new_input(F), new_input(F)
    yield "bodies_closed", scan_with(body((h, s), (add(h, new_variable(F, "u")),))), "reads %u"
    yield "bodies_closed", scan_with(body((h, s), (add(h, new_input(F, "u")),))), "reads %u"
    yield "bodies_closed", scan_with(body((h,), (h,))), "takes 1 inputs, received 2"
    yield "bodies_closed", scan_with(body((h, new_input(F.with_dtype("int32"))), (h,))), "input 1 of its body is i32"
    yield "bodies_closed", scan_with(body((h, s), (sum_(h),))), r"carry 0 enters its body as f32\[n,3\] and leaves"
    yield "bodies_closed", scan_with(Graph((h, s), (h,), ((v, v),))), "its body has updates"


@pytest.mark.parametrize("rule, graph, message", [pytest.param(*c, id=f"{c[0]}-{i}") for i, c in enumerate(broken())])
def test_each_rule_is_enforced(rule, graph, message):
    with pytest.raises(VerifyError, match=message) as e:
        verify_graph(graph, after="simplify")
    assert e.value.rule == rule and f"rule: {rule} (" in str(e.value) and "after simplify" in str(e.value)


def test_cycles_are_found():
    x = new_input(F)
    a = neg(x)
    b = exp(a)
    object.__setattr__(a, "inputs", (b,))              # only so: no function makes a cycle
    try:
        with pytest.raises(VerifyError, match="depends on the node itself"):
            verify_graph(Graph((x,), (b,)))
    finally:
        object.__setattr__(a, "inputs", (x,))


def test_every_rule_is_broken_here():
    assert {r.__name__ for r in verify.RULES} == {c[0] for c in broken()} | {"operands_first"}


def test_predicates():
    x = new_input(F, "x")
    layer = REGISTRY["recurrence"](x, body=body((h := new_input(F),), (exp(h),)), cell="", biases=0, roles=(0, 0, 0, 0),
                                   reverse=False, in_order=False)
    for ensure, graph, message in [
            (verify.no_recurrences, Graph((x,), (item(layer, 0),)), "`recurrence` must be a loop or a library's call"),
            (no_phase, Graph((x,), (phase_select(learning_phase(), x, exp(x)),)), "must be a constant by now"),
            (no_composites, Graph((x,), (softmax(x),)), "the composite op `softmax` must be expanded"),
            (all_shapes_bound, Graph((i := new_input(TensorType("float32", (n * 2,))),), (exp(i),)),
             "nothing gives n")]:
        verify_graph(graph)
        with pytest.raises(VerifyError, match=message) as e:
            verify_graph(graph, "lower", [ensure])
        assert e.value.rule == ensure.__name__


def test_guards_bind_symbols():
    i, j = new_input(TensorType("float32", (n * 2,))), new_input(TensorType("float32", (m,)))
    verify_graph(Graph((i, j), (exp(i),), guards=((n, m // 2),)), ensures=[all_shapes_bound])


def test_bodies_obey_the_same_rules():
    h, s = new_input(F), new_input(F)
    inner = scan_with(body((h, s), (add(h, softmax(s)),)))
    verify_graph(inner)
    with pytest.raises(VerifyError, match="in the body of %0:(.|\\n)*`body` is not valid after lower: the composite"):
        verify_graph(inner, "lower", [no_composites])


def test_the_message_names_layer_line_and_node():
    x = new_input(F, "x")
    with origin(layer="dense_1", line="train.py:12", rule="fold_bn"):
        y = Node(REGISTRY["exp"], (x,), (), F)
        make(REGISTRY["exp"], (x,), (("k", 0),), F)
    from graphk.ir.node import record_origin
    with origin(layer="dense_1", line="train.py:12", rule="fold_bn"):
        record_origin(y)
    with pytest.raises(VerifyError) as e:
        verify_graph(Graph((x,), (y,)), after="simplify")
    text = str(e.value)
    for part in ("after simplify", "node: %0: f32[n,3] = exp(%x)", "layer: dense_1", "your line: train.py:12",
                 "made by rule: fold_bn", "rule: nodes_interned", "the pass `simplify`"):
        assert part in text
    assert np.isfinite(len(text))


@pytest.mark.parametrize("line, why", [
    ("sum(%x; axes=(5,), keepdims=false)", r"axes \(5,\); expected some of 0 to 1, each once, in this order"),
    ("sum(%x; axes=(-1,), keepdims=false)", r"axes \(-1,\); expected some of 0 to 1"),
    ("sum(%x; axes=(1, 1), keepdims=false)", r"axes \(1, 1\); expected some of 0 to 1, each once"),
    ("argmax(%x; axis=2)", r"axes \(2,\); expected some of 0 to 1"),
    ("concat(%x, %x; axis=-1)", r"axes \(-1,\); expected some of 0 to 1"),
    ("transpose(%x; perm=(0, 0))", r"axes \(0, 0\); expected some of 0 to 1, each once"),
    ("transpose(%x; perm=(1,))", r"\(1,\) names 1 of its 2 axes"),
    ("slice(%x; starts=(0,), sizes=(1,), steps=(1,))", "expected one of each per axis"),
    ("embed(%x; starts=(0, 5), steps=(1, 1), shape=(3, 4))", "leave axis 1"),
    ("dot(%x, %x; contract=((1,), ()), batch=((), ()))", "expected as many of each"),
    ("dot(%x, %x; contract=((1, 1), (1, 1)), batch=((), ()))", r"axes \(1, 1\); expected some of 0 to 1, each once"),
    ("exp(%x; axes=(1,))", "does not take these arguments"),
    ("sum(%x; axis=1)", "it got an unexpected keyword argument 'axis'"),
])
def test_attributes_that_do_not_fit_are_refused_where_they_stand(line, why):
    from graphk.ir.text import ParseError, parse_graph
    with pytest.raises(ParseError, match=why):
        parse_graph("graph g(%x: f32[3,4]) {\n  %0 = " + line + "\n  return %0\n}")
