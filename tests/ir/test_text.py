"""The text form of graphs: round trips over every op, scans and random graphs; provenance; errors."""
import base64

import numpy as np
import pytest

from graphk.ir.dims import dim_max, sym
from graphk.ir.interp import run_full, run_graph
from graphk.ir.node import ArrayValue, Graph, make, origin, origin_of
from graphk.ir.opdef import REGISTRY, const, register
from graphk.ir.ops.contract import dot
from graphk.ir.ops.control import fusion_op, item, phase_select, scan
from graphk.ir.ops.elementwise import add, exp, mul, tanh
from graphk.ir.ops.leaves import learning_phase, new_input, new_variable
from graphk.ir.ops.shape import broadcast_to, iota
from graphk.ir.text import ParseError, node_text, parse_graph, print_graph
from graphk.ir.types import DTYPES, TensorType
from tests.graphs import random_graph

n, t = sym("n"), sym("t")
F = TensorType("float32", (n, 3))
CASES = [pytest.param(op, arrays, attrs, id=f"{op.name}-{i}") for op in REGISTRY.values() if op.samples
         for i, (arrays, attrs) in enumerate(op.samples(np.random.default_rng(0)))]


def round_trip(graph):
    text = print_graph(graph)
    back = parse_graph(text)
    assert print_graph(back) == text
    assert print_graph(parse_graph(print_graph(graph, origins=False)), origins=False) == print_graph(graph, False)
    return back


@pytest.mark.parametrize("op, arrays, attrs", CASES)
def test_every_op(op, arrays, attrs):
    ins = [new_input(TensorType(np.asarray(a).dtype.name, np.shape(a))) for a in arrays]
    g = Graph(tuple(ins), (op(*ins, **attrs),))
    np.testing.assert_array_equal(run_graph(round_trip(g), arrays)[0], run_graph(g, arrays)[0])


@pytest.mark.parametrize("seed", range(60))
def test_random_graphs(seed):
    g, arrays = random_graph(seed)
    want, got = run_graph(g, arrays), run_graph(round_trip(g), arrays)
    for a, b in zip(want, got):
        np.testing.assert_array_equal(a, b)
        assert np.isfinite(a).all() and np.abs(a).max(initial=0) < 1e4


def test_random_graphs_depend_on_the_seed_alone():
    texts = [print_graph(random_graph(s)[0], origins=False) for s in (3, 3, 4)]
    assert texts[0] == texts[1] != texts[2]
    ops = {node.op.name for s in range(60) for node in random_graph(s)[0].nodes()}
    assert {"dot", "select", "sum", "reduce_max", "transpose", "reshape", "slice", "concat", "embed", "gather"} <= ops


def scan_graph():
    h, x, w = (new_input(TensorType("float32", s)) for s in ((n, 4), (n, 3), (3, 4)))
    new = tanh(add(dot(x, w), h))
    body = Graph((h, x, w), (new, mul(new, 2.0)), name="body")
    h0, xs = new_input(TensorType("float32", (n, 4)), "h0"), new_input(TensorType("float32", (t, n, 3)), "xs")
    kernel = new_variable(TensorType("float32", (3, 4)), "rnn/kernel")
    with origin(layer="rnn"):
        last, ys = scan(body, [h0], [xs], [kernel], reverse=True)
    return Graph((h0, xs), (ys, last), ((kernel, add(kernel, 1.0)),), "step", ((n, t * 2),))


def test_scan_variables_updates_and_guards():
    g = scan_graph()
    back = round_trip(g)
    assert back.name == "step" and back.guards == g.guards
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s).astype("float32") for s in ((4, 4), (2, 4, 3), (3, 4))]
    runs = [run_full(x, arrays[:2], {x.variables()[0]: arrays[2]}) for x in (g, back)]
    for a, b in zip(runs[0][0] + list(runs[0][1].values()), runs[1][0] + list(runs[1][1].values())):
        np.testing.assert_array_equal(a, b)
    assert back.variables()[0].attr("name") == "rnn/kernel"


def test_golden_text():
    x = new_input(TensorType("float32", (n, 64)), "x")
    w = new_variable(TensorType("float32", (64, 10)), "dense_1/kernel")
    with origin(layer="dense_1", line="/somewhere/train.py:12", rule="fold"):
        y = add(dot(x, w), 0.515625)
    assert print_graph(Graph((x,), (y,))) == """\
graph main(%x: f32[n,64]) {
  var %dense_1_kernel: f32[64,10] "dense_1/kernel"                %W
  %0: f32[n,10] = dot(%x, %dense_1_kernel)                        # layer dense_1, train.py:12, rule fold
  %1: f32[] = const(0.515625)                                     # layer dense_1, train.py:12, rule fold
  %2: f32[n,10] = add(%0, %1)                                     # layer dense_1, train.py:12, rule fold
  return %2
}
""".replace("%W", "# " + origin_of(w).line.rpartition("/")[2])


def test_fusion_and_phase():
    a, b = new_input(F), new_input(F)
    f = fusion_op(*[x := new_input(F, "x"), exp(x)], body=Graph((a, b), (add(a, b), a)), kind="loop", order=(0,))
    y = phase_select(learning_phase(), item(f, 0), item(f, 1))
    for inputs in ((x,), (x, learning_phase())):
        back = round_trip(Graph(inputs, (y,)))
        assert [i.op.name for i in back.inputs] == [i.op.name for i in inputs]


@pytest.mark.parametrize("name, shown", [
    ("x", "%x"), ("", "%_0"), ("dense_1/kernel:0", '%dense_1_kernel_0: f32[n,3] "dense_1/kernel:0"'),
    ("0", '%v0: f32[n,3] "0"'), ("_0", '%v_0: f32[n,3] "_0"'), ("größe", "%größe"),
    ('a"\n\\b', '%a___b: f32[n,3] "a\\"\\n\\\\b"')])
def test_leaf_names(name, shown):
    x = new_input(F, name)
    g = Graph((x,), (exp(x),))
    assert f"({shown}" in print_graph(g) and round_trip(g).inputs[0].attr("name") == name


@pytest.mark.parametrize("name", ["my model", "größe", "a/b:0", "0", "", 'q"uo\\te', "two\nlines", "tab\t", "²",
                                  "模型 1", "#x"])
def test_graph_names(name):
    x = new_input(F, "x")
    with origin(layer=name):
        y = exp(x)
    g = Graph((x,), (y,), name=name)
    assert round_trip(g).name == name and parse_graph(print_graph(g)).name == name
    assert len(print_graph(g).splitlines()) == 4


def test_equal_names_stay_apart():
    xs = [new_input(F, name) for name in ("x", "x", "x_2", "", "")]
    back = round_trip(Graph(tuple(xs), tuple(map(exp, xs))))
    assert [i.attr("name") for i in back.inputs] == ["x", "x", "x_2", "", ""]
    assert [o.inputs[0] for o in back.outputs] == list(back.inputs)


@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize("shape", [(), (3,), (0, 3), (2, 0), (5, 7), (1, 1)])
def test_constants(dtype, shape):
    rng = np.random.default_rng(1)
    array = (rng.standard_normal(shape) * 10).astype(dtype) if dtype.startswith("float") \
        else rng.integers(0, 2 if dtype == "bool" else 100, shape).astype(dtype)
    back = round_trip(Graph((), (const(array),)))
    assert back.outputs[0] is const(array)             # equal bits: interned to the same node
    text = print_graph(back)
    assert ("base64" in text) == (array.size > 16)
    if array.size > 16:
        assert base64.b64decode(text.split('"')[1]) == array.tobytes()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_special_floats(dtype):
    info = np.finfo(dtype)
    array = np.array([np.inf, -np.inf, np.nan, -0.0, info.max, info.tiny, info.smallest_subnormal, 0.1], dtype)
    assert round_trip(Graph((), (const(array),))).outputs[0] is const(array)
    odd = np.array([np.nan], dtype)
    odd.view(f"u{odd.itemsize}")[0] |= 1               # a payload that no digits can carry
    assert "base64" in print_graph(Graph((), (const(odd),)))
    assert round_trip(Graph((), (const(odd),))).outputs[0] is const(odd)


VALUES = [0, -3, 2**40, 1.5, -0.25, 1e-300, float("inf"), float("-inf"), True, False, None, "", 'q"\\\n#;)', (), (1,),
          (1, (2.5, "a"), n * 2 + 1), dim_max(n, t) - 1, (n + 5) // 2, -n, TensorType("int32", (n,)),
          ArrayValue(np.arange(3)), ArrayValue(np.zeros((9, 9)))]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_attributes(value):
    op = REGISTRY.get("test_attribute") or register(
        type(REGISTRY["exp"])("test_attribute", "index_map", lambda t, value: t, lambda x, value: x))
    try:
        x = new_input(F)
        got = round_trip(Graph((x,), (op(x, value=value),))).outputs[0].attr("value")
        assert got == value and type(got) is type(value)
    finally:
        del REGISTRY["test_attribute"]


def test_attributes_without_a_text_form_are_an_error():
    x = new_input(F)
    node = make(REGISTRY["exp"], (x,), (("odd", frozenset()),), F)
    with pytest.raises(TypeError, match="no way to write an attribute of type frozenset"):
        print_graph(Graph((x,), (node,)))
    bad = new_input(TensorType("float32", (sym("max"),)))
    with pytest.raises(ValueError, match="the symbolic dimension `max` cannot be printed"):
        print_graph(Graph((bad,), (bad,)))


@pytest.mark.parametrize("layer, line, rule", [
    ("dense", "a.py:3", "r"), ("a, b", "<cell>:1", ""), ("layer x", "", "rule y"), ('q"', "", ""), ("", "a.py:1", "")])
def test_origins_are_restored(layer, line, rule):
    x = new_input(F)
    with origin(layer=layer, line=line or "-", rule=rule):
        y = exp(x)
    back = origin_of(round_trip(Graph((x,), (y,))).outputs[0])
    assert (back.layer, back.line, back.rule) == (layer, line or "-", rule)


def test_origins_are_optional():
    g = parse_graph("graph g(%x: f32[n]) {\n  %0 = exp(%x)\n  # a remark\n  return %0  # the end\n}\n# more")
    assert str(origin_of(g.outputs[0])) == ""
    assert print_graph(g) == "graph g(%x: f32[n]) {\n  %0: f32[n] = exp(%x)\n  return %0\n}\n"


def test_an_undeclared_input_is_shown():
    """The verifier refuses such a graph; its text still says what is there."""
    x, y = new_input(F, "x"), new_input(F, "y")
    g = Graph((x,), (add(x, y),))
    assert "  free %y: f32[n,3]\n" in print_graph(g) and len(round_trip(g).inputs) == 1


def test_types_may_be_left_out_and_layout_is_free():
    g = parse_graph("graph g(%x:f32[n,3],){%a=exp(%x) %b=sum(%a;axes=(0,),keepdims=false,)return %b,%a}")
    assert [str(o.type) for o in g.outputs] == ["f32[3]", "f32[n,3]"]


def test_node_text():
    x = new_input(F, "x")
    assert node_text(broadcast_to(exp(x), (2, n, 3))) == "%1: f32[2,n,3] = broadcast(%0; shape=(2, n, 3))"
    assert node_text(iota(n)) == '%0: i32[n] = iota(dtype="int32", size=n)'
    assert "body={…}" in node_text(scan_graph().outputs[0].inputs[0])


@pytest.mark.parametrize("text, line, column, message", [
    ("", 1, 1, "expected `graph`, received `the end of the text`"),
    ("graph g(%x: f33[n]) {}", 1, 13, "expected one of b1, f16"),
    ("graph g(%x: f32[n) {}", 1, 18, r"expected `\]`, received `\)`"),
    ("graph g(%x: f32[n]) {\n  %0 = expp(%x)\n}", 2, 8, "no op `expp`; did you mean exp or expm1"),
    ("graph g(%x: f32[n]) {\n  %0 = exp(%y)\n}", 2, 12,
     r"a value defined before this line \(known: %x\), received `%y`"),
    ("graph g(%x: f32[n]) {\n  %x = exp(%x)\n}", 2, 3, "a name that is not yet defined"),
    ("graph g(%x: f32[n]) {\n  %0: f32[m] = exp(%x)\n}", 2, 3,
     r"the type f32\[n\], which follows .* received f32\[m\]"),
    ("graph g(%x: f32[2,3]) {\n  %0 = dot(%x, %x)\n}", 2, 8, "`dot` does not take these arguments: .*extent 3"),
    ("graph g(%x: f32[n]) {\n  %0 = sum(%x; axis=0)\n}", 2, 8, "`sum` does not take these arguments"),
    ("graph g() {\n  %0: f32[2] = const([1, 2, 3])\n}", 2, 22, r"values that fill f32\[2\]"),
    ("graph g() {\n  %0 = const(1)\n}", 2, 8, "a type of fixed extents for a constant"),
    ("graph g() {\n  %0: u8[1] = const(300)\n}", 2, 21, r"values that fill u8\[1\]"),
    ('graph g() {\n  %0: f32[1] = const(base64 "???")\n}', 2, 22, r"values that fill f32\[1\]"),
    ("graph g() { $ }", 1, 13, "received `\\$`"), ('graph g() { "a', 1, 13, 'received `"`'),
    ("graph g() { } x", 1, 15, "the end of the text after"), ("graph g() {", 1, 12, "expected a node"),
    ('graph g(%x: f32[n] "\\q") {}', 1, 20, "a string with JSON's escapes"),
    ("graph g(%x: f32[n]) {\n  guard n = 2\n}", 2, 11, "expected `==`, received `=`"),
])
def test_errors_say_where_and_what(text, line, column, message):
    with pytest.raises(ParseError, match=message) as e:
        parse_graph(text)
    assert (e.value.line, e.value.column) == (line, column)
    assert str(e.value).startswith(f"line {line}, column {column}: ")


def test_mutants_parse_or_raise_a_parse_error():
    text = print_graph(scan_graph())
    rng = np.random.default_rng(0)
    for _ in range(400):
        i, j = sorted(rng.integers(0, len(text), 2))
        mutant = text[:i] + text[min(j, i + 6):] if rng.integers(2) else text[:i] + text[j] + text[i:]
        try:
            print_graph(parse_graph(mutant))
        except ParseError:
            pass
