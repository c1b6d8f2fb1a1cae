"""Models read from ONNX files as models: what is saved, trained and refused, and files that mean harm."""
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from graphk import backend as K
from graphk import layers as L
from graphk.frontend.engine.copying import custom_objects
from graphk.frontend.saving.errors import GraphkFormatError
from graphk.inspection.cli import main
from graphk.models import Model, Sequential, load_model
from graphk.onnx import OnnxGraph, export_model, import_model, imported
from graphk.onnx.imported import TABLE

from tests.onnx.operators import text

onnx = pytest.importorskip("onnx")


def read(proto, tmp_path):
    (tmp_path / "m.onnx").write_bytes(proto if isinstance(proto, bytes) else proto.SerializeToString())
    return import_model(tmp_path / "m.onnx")


@pytest.fixture
def network(tmp_path):
    """A convolutional network with normalization, and its file."""
    model = Sequential([L.Conv2D(4, 3, padding="same", input_shape=(6, 6, 2), name="conv"), L.BatchNormalization(),
                        L.MaxPooling2D(2), L.Flatten(), L.Dense(3, activation="softmax", name="out")])
    path = tmp_path / "net.onnx"
    export_model(model, path)
    return model, path


def test_weights_are_weights(network):
    model, path = network
    again = import_model(path)
    assert again.count_params() == model.count_params()
    names = {w.name.split("/", 1)[1] for w in again.weights}
    assert any("conv/kernel:0" in n for n in names) and any("out/bias:0" in n for n in names)
    assert again.input_shape == model.input_shape and again.output_shape == model.output_shape
    assert again.layers[-1].name == "net"


def test_what_is_read_is_saved_and_loaded(network, tmp_path):
    model, path = network
    x = np.random.randn(3, 6, 6, 2).astype("float32")
    again = import_model(path)
    again.compile("sgd", "mse")
    again.save(tmp_path / "m.h5")
    third = load_model(tmp_path / "m.h5", custom_objects={"OnnxGraph": OnnxGraph})
    np.testing.assert_allclose(third.predict(x), model.predict(x), rtol=1e-5, atol=1e-6)
    json.dumps(again.get_config())


def test_what_is_read_is_written_again(network, tmp_path):
    model, path = network
    x = np.random.randn(3, 6, 6, 2).astype("float32")
    export_model(import_model(path), tmp_path / "twice.onnx")
    np.testing.assert_allclose(import_model(tmp_path / "twice.onnx").predict(x), model.predict(x), rtol=1e-5, atol=1e-6)


def test_what_is_read_is_trained(network, monkeypatch):
    monkeypatch.setenv("GRAPHK_EXECUTOR", "cpu")
    model = import_model(network[1])
    x, y = np.random.randn(64, 6, 6, 2), np.random.randint(0, 3, 64)
    model.compile("adam", "sparse_categorical_crossentropy")
    first, *_, last = model.fit(x, y, epochs=6, verbose=0).history["loss"]
    assert last < first


def test_statistics_of_a_normalization_do_not_move(tmp_path):
    model = read(text("""g (float[n, 2] x) => (float[n, 2] y)
        <float[2] s = {1, 2}, float[2] b = {0, 1}, float[2] m = {0, 1}, float[2] v = {1, 2}>
        { y = BatchNormalization(x, s, b, m, v) }"""), tmp_path)
    assert [w.name.split("/")[-1] for w in model.trainable_weights] == ["s:0", "b:0"]
    assert [w.name.split("/")[-1] for w in model.non_trainable_weights] == ["m:0", "v:0"]
    assert np.allclose(model.predict(np.ones((1, 2))), [[1, 1]], atol=1e-4)


# ------------------------------------------------------------------ refusals
def test_all_unknown_operators_are_named_at_once(tmp_path):
    body = "g (float[n, 2] x) => (float[n, 2] y) { a = Celu(x) b = Hardmax(a) c = com.microsoft.Gelu(b) y = Celu(c) }"
    proto = onnx.parser.parse_model('<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>\n' + body)
    with pytest.raises(NotImplementedError, match="does not have the operators Celu, Hardmax, com.microsoft.Gelu of"):
        read(proto, tmp_path)


@pytest.mark.parametrize("body,message", [
    ("g (float[n, 2] x) => (float[n, 2] y) { y = Pad<mode = \"other\">(x, p) }", "the padding 'other' is not"),
    ("g (float[n, 2] x, int64[2] s) => (float[n, 2] y) { y = Reshape(x, s) }",
     "operand number 1 is computed from data; graphk needs it as a constant"),
    ("g (float[n, 2] x) => (float[n, 2] y, float[n, 2] z) { y, z = MaxPool<kernel_shape = [1]>(x) }", "indices")])
def test_what_is_left_out_is_named(body, message, tmp_path):
    body = body.replace(") => (float[n, 2] y) { y = Pad", ") => (float[n, 2] y) <int64[4] p = {0, 0, 0, 1}> { y = Pad")
    with pytest.raises(NotImplementedError, match=message):
        read(text(body), tmp_path)


def test_a_missing_file():
    with pytest.raises(FileNotFoundError):
        import_model("no_such.onnx")


# ------------------------------------------------------------------ files that are wrong, or mean harm
def damaged(change):
    """A good small model after `change`."""
    proto = text("""g (float[n, 2] x) => (float[n, 2] y) <float[2, 2] w = {1, 2, 3, 4}>
        { h = MatMul(x, w) y = Relu(h) }""")
    change(proto)
    return proto


def outside(proto):
    weight = proto.graph.initializer[0]
    del weight.float_data[:]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../etc/passwd")


def huge(proto):
    proto.graph.initializer[0].dims[:] = [2 ** 40, 2 ** 20]


def cycle(proto):
    proto.graph.node[0].input[1] = "y"


def twice(proto):
    proto.graph.node[1].output[0] = "h"


def no_output(proto):
    proto.graph.output[0].name = "elsewhere"


def strings(proto):
    proto.graph.initializer[0].data_type = onnx.TensorProto.STRING


def functions(proto):
    proto.functions.add(name="Mine", domain="mine")


@pytest.mark.parametrize("change,message", [
    (outside, "w`: its data lies in another file, which is refused"), (cycle, "reads `y`, which nothing before"),
    (huge, "declares the shape .1099511627776, 1048576. of float32, but stores"), (twice, "makes `h`, which there is"),
    (no_output, "nothing makes the output `elsewhere`"), (strings, "it is of type object"),
    (functions, "defines 1 operators of its own .Mine"),
    (lambda p: p.opset_import[0].__setattr__("version", 99), r"the opset is \[99\]; graphk reads the opsets 7 to 21"),
    (lambda p: p.graph.input[0].type.tensor_type.shape.Clear() or p.graph.input[0].type.tensor_type.ClearField("shape"),
     "input `x`: expected a tensor with a declared number of axes"),
    (lambda p: p.graph.node[0].attribute.add(name="t", type=onnx.AttributeProto.TYPE_PROTO), "`t`"),
    (lambda p: p.graph.initializer.append(p.graph.initializer[0]), "there are two of this name")])
def test_malformed_files(change, message, tmp_path):
    with pytest.raises(GraphkFormatError, match=message) as e:
        read(damaged(change), tmp_path)
    assert str(tmp_path / "m.onnx") in str(e.value)


@pytest.mark.parametrize("body,message", [
    ("a = Constant<value = int64[2] {1000000, 1000000}>() z = ConstantOfShape(a) y = Add(x, z)", "more than .* num"),
    ("s = Shape(x) " + "".join(f"a{i} = Mul({p}, {p}) b{i} = Add(a{i}, {p}) "
                               for i, p in enumerate(["s", *(f"b{j}" for j in range(40))])) + "y = Expand(x, b40)",
     "more than a page"),
    ("w = Constant<value = float[1, 1, 1] {1}>() c = Constant<value = int64[1] {1}>() z = Unsqueeze(x, c) "
     "y = ConvTranspose<group = 1099511627776>(z, w)", "1 channels in 1099511627776 groups"),
    ("a = Constant<value = int64[3] {1000000, 1000000, 2}>() y = Expand(x, a)", "more than .* numbers"),
    ("a = Constant<value = int64[2] {99999999, 99999999}>() y = Tile(x, a)", "more than .* numbers"),
    ("a = Constant<value = int64[4] {0, 0, 0, 99999999999}>() y = Pad(x, a)", "more than .* numbers"),
    ("s = Constant<value = int64 {0}>() e = Constant<value = int64 {99999999999}>() d = Constant<value = int64 {1}>() "
     "r = Range(s, e, d) y = Identity(r)", "more than .* numbers"),
    ("a = Constant<value = int64[2] {-5, -7}>() z = ConstantOfShape(a) y = Add(x, z)", "negative extent"),
    ("y = Transpose<perm = [0, 0]>(x)", "not a permutation"), ("y = Conv(x, x)", "kernel"),
    ("y = Concat<axis = 7>(x, x)", "axis"), ("y = Add(x)", "it lacks its operand number 1|unpack|operand")])
def test_graphs_that_make_no_sense(body, message, tmp_path):
    with pytest.raises(GraphkFormatError, match=message):
        read(text(f"g (float[n, 2] x) => (float[n, 2] y) {{ {body} }}"), tmp_path)


def loops(depth):
    """The text of `y{depth} = …`: loops of 200 steps within each other."""
    if depth == 0:
        return "y0 = Neg(x)"
    return (f"m{depth} = Constant<value = int64 {{200}}>() t{depth} = Constant<value = bool {{1}}>() "
            f"y{depth} = Loop<body = b{depth} (int64 i{depth}, bool g{depth}) => (bool o{depth}, float[n, 2] r{depth}) "
            f"{{ o{depth} = Identity(g{depth}) {loops(depth - 1)} r{depth} = Identity(y{depth - 1}) }}>"
            f"(m{depth}, t{depth})")


def test_loops_within_loops_end(tmp_path, monkeypatch):
    monkeypatch.setattr(imported, "_WRITTEN_OUT", 3000)
    with pytest.raises(GraphkFormatError, match="with its loops written out, the graph has more than 3000 nodes"):
        read(text(f"g (float[n, 2] x) => (float[n, 2] y4) {{ {loops(4)} }}"), tmp_path)


@pytest.mark.parametrize("data", [b"", b"\x00" * 64, b"\x08\x08\x3a\xff\xff\xff\xff\x0f", b"PK\x03\x04 not this"])
def test_bytes_that_are_no_model(data, tmp_path):
    with pytest.raises(GraphkFormatError, match="it is not an ONNX file"):
        read(data, tmp_path)


def test_mutants_of_a_file_are_read_or_refused(network, tmp_path):
    """A few bytes of the graph changed: a model or an error of ours, and nothing else."""
    data = network[1].read_bytes()
    random = np.random.RandomState(7)
    seen = set()
    for _ in range(150):
        mutant = bytearray(data)
        for at in random.randint(0, len(data), random.randint(1, 4)):
            mutant[at] = random.randint(256)
        try:
            read(bytes(mutant), tmp_path)
            seen.add("read")
        except (GraphkFormatError, NotImplementedError) as e:
            seen.add(type(e).__name__)
    assert {"read", "GraphkFormatError"} <= seen


def test_a_config_that_is_wrong_is_malformed():
    layer = OnnxGraph({"nodes": [["Relu", ["nothing"], ["y"], {}]], "outputs": ["y"], "opset": 17, "weights": [],
                       "inputs": [["x", "float32", [None, 2]]], "constants": {}})
    with pytest.raises(GraphkFormatError, match="nothing"):
        layer(L.Input((2,)))
    with pytest.raises(GraphkFormatError, match="the graph cannot be read"):
        OnnxGraph({"nodes": [3]})


def test_nothing_is_imported_before_it_is_needed():
    code = "import sys, graphk, graphk.onnx; assert 'onnx' not in sys.modules and 'google.protobuf' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_table_is_documented():
    page = (Path(__file__).parents[2] / "docs" / "onnx.md").read_text(encoding="utf-8")
    listed = re.search(r"these operators:\n\n(.*?)\.\n\n", page, re.DOTALL)[1].replace("\n", " ").split(", ")
    assert sorted(listed) == sorted({*TABLE, "Constant"})


@pytest.mark.filterwarnings("ignore:No training configuration")
def test_files_are_checked_and_converted_on_the_command_line(tmp_path, capsys):
    model = Sequential([L.Dense(3, activation="tanh", input_shape=(4,), name="only")])
    model.compile("sgd", "mse")
    first, x = str(tmp_path / "a.h5"), np.random.randn(2, 4).astype("float32")
    model.save(first)
    for name in ("b.onnx", "c.onnx", "d.keras", "e.onnx"):
        assert main(["convert", first, str(tmp_path / name)]) == 0
        first = str(tmp_path / name)
        if name.endswith(".onnx"):
            assert main(["check", first]) == 0
            assert "15 parameters, (None, 4) -> (None, 3)" in capsys.readouterr().out
            np.testing.assert_allclose(import_model(first).predict(x), model.predict(x), rtol=1e-5)
    (tmp_path / "bad.onnx").write_bytes(b"PK\x03\x04")
    assert main(["check", str(tmp_path / "bad.onnx")]) == 1 == main(["convert", str(tmp_path / "bad.onnx"), first])
    assert "not an ONNX file" in capsys.readouterr().out


def test_a_graph_that_was_read_is_no_layer_of_the_front_end(tmp_path):
    """It may mix samples, so TimeDistributed runs it step by step; who copies a model carries its class along."""
    x = L.Input((3,))
    export_model(Model(x, L.Lambda(lambda t: t - K.mean(t, axis=0, keepdims=True))(x)), tmp_path / "m.onnx")
    layer = next(la for la in import_model(tmp_path / "m.onnx").layers if isinstance(la, OnnxGraph))
    assert custom_objects([layer]) == {"OnnxGraph": OnnxGraph}
    steps = L.Input(batch_shape=(4, 2, 3))
    values = np.random.RandomState(0).rand(4, 2, 3).astype("float32")
    got = Model(steps, L.TimeDistributed(layer)(steps)).predict(values, batch_size=4)
    np.testing.assert_allclose(got, values - values.mean(0), rtol=1e-5, atol=1e-6)
