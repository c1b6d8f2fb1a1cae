"""ONNX files that mean harm.

In: a path.  Out: a file.  What always holds: what the case is not about is a model that graphk reads.
"""


def proto(body, start="g (float[n, 2] x) => (float[n, 2] y) <float[2, 2] w = {1, 2, 3, 4}> ", change=None):
    """A case from the text of a graph, after `change(onnx, model)`."""
    def make(path):
        import onnx
        model = onnx.parser.parse_model('<ir_version: 8, opset_import: ["" : 17]> ' + start + "{ " + body + " }")
        if change:
            change(onnx, model)
        with open(path, "wb") as f:
            f.write(model.SerializeToString())
    return "onnx", make


def weight(**fields):
    """A case of a weight with other fields."""
    def change(onnx, model):
        tensor = model.graph.initializer[0]
        for key, value in fields.items():
            if key in ("dims", "external_data"):
                tensor.ClearField(key)
                getattr(tensor, key).extend(value if key == "dims" else [
                    onnx.StringStringEntryProto(key=k, value=v) for k, v in value.items()])
            else:
                setattr(tensor, key, value)
    return proto("y = MatMul(x, w)", change=change)


def _deep(onnx, model):
    """Branches in branches."""
    def body(node):
        return onnx.helper.make_graph([node], "b", [], [onnx.helper.make_tensor_value_info("y", 1, None)])
    inner = onnx.helper.make_node("Identity", ["x"], ["y"])
    for _ in range(20):
        inner = onnx.helper.make_node("If", ["c"], ["y"], then_branch=body(inner),
                                      else_branch=body(onnx.helper.make_node("Identity", ["x"], ["y"])))
    model.graph.node.append(inner)
    del model.graph.node[0]


def _doubled(times):
    return " ".join(f"a{i} = Concat<axis = 1>({p}, {p})" for i, p in enumerate(
        ["x", *(f"a{j}" for j in range(times - 1))])) + f" y = ReduceSum<keepdims = 1>(a{times - 1})"


def _recursive(onnx, model):
    function = model.functions.add(name="f", domain="own")
    function.node.add(op_type="f", domain="own")
    model.graph.node[0].op_type, model.graph.node[0].domain = "f", "own"


def nodes(count):
    """A chain of nodes."""
    return " ".join(f"a{i + 1} = Neg(a{i})" for i in range(count)).replace("Neg(a0)", "Neg(x)") + f" y = Neg(a{count})"


CASES = {
    "data in another file": weight(raw_data=b"", data_location=1, external_data={"location": "secret", "offset": "0"}),
    "data in a file above": weight(data_location=1, external_data={"location": "../../../etc/passwd"}),
    "data in a device": weight(data_location=1, external_data={"location": "/dev/zero", "length": str(1 << 40)}),
    "a weight of 2**60 numbers": weight(dims=[2 ** 30, 2 ** 30]),
    "a weight of -4 numbers": weight(dims=[-2, -2]),
    "a weight whose size overflows": weight(dims=[2 ** 62, 4, 4]),
    "a weight of 1,000 axes": weight(dims=[1] * 1000),
    "a weight of texts": weight(data_type=8),
    "a weight of an unknown type": weight(data_type=77),
    "a weight of complex numbers": weight(data_type=14),
    "a weight of half the bytes": weight(raw_data=b"1234567"),
    "a weight called nothing": weight(name=""),
    "a graph that goes round": proto("a = Add(x, b) b = Neg(a) y = Neg(b)"),
    "a value made twice": proto("y = Neg(x) y = Abs(x)"),
    "forty branches in each other": proto("y = Neg(x) c = Constant<value = bool {1}>()", change=_deep),
    "a function that calls itself": proto("y = Neg(x)", change=_recursive),
    "an operator of os": proto("y = Neg(x)", change=lambda o, m: setattr(m.graph.node[0], "op_type", "os.system")),
    "a domain that is a path": proto("y = Neg(x)", change=lambda o, m: setattr(m.graph.node[0], "domain", "../lib.so")),
    "an array of 10**12 numbers": proto("s = Constant<value = int64[2] {1000000, 1000000}>() z = ConstantOfShape(s) "
                                        "y = Add(x, z)"),
    "ranges of 10**12": proto("s = Constant<value = int64 {0}>() e = Constant<value = int64 {1000000000000}>() "
                              "d = Constant<value = int64 {1}>() r = Range(s, e, d) y = Add(x, r)"),
    "a range of steps of 0": proto("s = Constant<value = int64 {0}>() e = Constant<value = int64 {9}>() "
                                   "d = Constant<value = int64 {0}>() r = Range(s, e, d) y = Add(x, r)"),
    "concatenated 2**60 times": proto(_doubled(60)),
    "a padding of 2**60": proto("p = Constant<value = int64[4] {0, 0, 0, 1152921504606846976}>() y = Pad(x, p)"),
    "tiles of 2**60": proto("p = Constant<value = int64[2] {1, 1152921504606846976}>() y = Tile(x, p)"),
    "an image made 10**9 times as large": proto(
        "s = Constant<value = float[2] {1, 1000000000}>() y = Resize<mode = \"nearest\">(x, , s)"),
    "splits of nothing": proto("p = Constant<value = int64[2] {0, -2}>() y, z = Split<axis = 1>(x, p)"),
    "an einsum of a thousand letters": proto(f"y = Einsum<equation = \"{'ij,' * 1000}jk->ik\">(x, w)"),
    "a loop of 2**60 steps": proto(
        "m = Constant<value = int64 {1152921504606846976}>() t = Constant<value = bool {1}>() "
        "y = Loop<body = b (int64 i, bool c, float[n, 2] a) => (bool d, float[n, 2] r) "
        "{ d = Identity(c) r = Neg(a) }>(m, t, x)"),
    "a recurrent operator of 2**40 units": proto(
        "a = Unsqueeze(x, z) b, c = RNN<hidden_size = 1099511627776>(a, w, w) y = Identity(b)",
        start="g (float[n, 2] x) => (float[n, 2] y) <float[2, 2] w = {1, 2, 3, 4}, int64[1] z = {0}> "),
    "twenty thousand nodes": proto(nodes(20_000)),
    "an input of -2 axes": proto("y = Neg(x)", change=lambda o, m: setattr(
        m.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", -2)),
    "an input of 2**62 numbers": proto("y = Neg(x)", change=lambda o, m: setattr(
        m.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 2 ** 62)),
    "no graph": ("onnx", lambda path: open(path, "wb").write(b"\x08\x08")),
    "nothing": ("onnx", lambda path: open(path, "wb").close()),
    "a pickle": ("onnx", lambda path: open(path, "wb").write(b"cos\nsystem\n(S'touch escaped'\ntR.")),
    "a message of 4 GiB": ("onnx", lambda path: open(path, "wb").write(b"\x08\x08\x3a\xff\xff\xff\xff\x0f")),
}
