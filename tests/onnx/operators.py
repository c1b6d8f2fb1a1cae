"""Operators that are read: models of one node each, and graphs in ONNX's textual form.

In: nothing.  Out: tables, and functions that make models of their lines.  What always holds: the package onnx is
imported when a model is made, not before, so that tests can be skipped where it is missing.
"""
import numpy as np


def wave(*shape, dtype="float32"):
    """Numbers between -1 and 1."""
    return np.cos(np.arange(int(np.prod(shape))) * .7 + len(shape)).reshape(shape).astype(dtype)


def ints(*values):
    return np.array(values, np.int64)


def build(op, first, rest, attributes, opset, outputs=1, dynamic=False):
    """A model of one node."""
    from onnx import helper, numpy_helper
    names = ["x", *(f"c{i}" if r is not None else "" for i, r in enumerate(rest))]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, names, results, **attributes)
    kind = helper.np_dtype_to_tensor_dtype(first.dtype)
    x = helper.make_tensor_value_info("x", kind, ["n" if dynamic and i == 0 else d for i, d in enumerate(first.shape)])
    stored = [numpy_helper.from_array(np.asarray(r), n) for n, r in zip(names[1:], rest) if r is not None]
    ys = [helper.make_empty_tensor_value_info(n) for n in results]
    graph = helper.make_graph([node], "g", [x], ys, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


IMAGE, ROW, WHOLE = wave(2, 4, 7, 6), wave(2, 3, 8), ints([-7, 7, -6, 5])
SIMPLE = ["Abs", "Neg", "Sign", "Exp", "Tanh", "Sigmoid", "Softplus", "Relu", "Erf", "Sin", "Cos", "Tan", "Floor",
          "Ceil", "Round", "IsNaN", "IsInf", "Reciprocal", "Softsign", "HardSwish", "Mish", "Elu", "Selu", "LeakyRelu",
          "HardSigmoid", "ThresholdedRelu", "Softmax", "LogSoftmax", "Identity", "Dropout", "Shape", "Size", "Flatten",
          "Transpose", "GlobalMaxPool", "GlobalAveragePool", "LpNormalization"]
PAIRS = ["Add", "Sub", "Mul", "Div", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Max", "Min", "Sum",
         "Mean", "PRelu"]
# (operator, its first operand, the others, attributes, opset[, outputs])
CASES = [
    *[(op, IMAGE, [], {}, 18) for op in SIMPLE], *[(op, IMAGE, [wave(6)], {}, 16) for op in PAIRS],
    ("Sqrt", np.abs(IMAGE), [], {}, 17), ("Log", np.abs(IMAGE) + .1, [], {}, 17),
    ("Pow", np.abs(IMAGE), [np.float32(2.5)], {}, 15), ("Gelu", IMAGE, [], {}, 20),
    ("Gelu", IMAGE, [], {"approximate": "tanh"}, 20), ("Not", IMAGE > 0, [], {}, 17),
    *[(op, IMAGE > 0, [wave(6) > .3], {}, 17) for op in ("And", "Or", "Xor")],
    ("Where", IMAGE > 0, [IMAGE, np.float32(0)], {}, 17), ("Cast", IMAGE * 3, [], {"to": 7}, 17),
    ("Div", WHOLE, [ints(2, -2, 3, 4)], {}, 14), ("Mod", WHOLE, [ints(2, -2, 4, 3)], {}, 13),
    ("Mod", IMAGE * 5, [np.float32(2)], {"fmod": 1}, 13), ("Clip", IMAGE, [np.float32(-.3), np.float32(.4)], {}, 13),
    ("Clip", IMAGE, [None, np.float32(.4)], {}, 13), ("Clip", IMAGE, [], {"min": -.2, "max": .6}, 7),
    ("Elu", IMAGE, [], {"alpha": 2.}, 17),
    ("IsInf", np.float32([[1, np.inf, -np.inf]]), [], {"detect_negative": 0}, 17),
    ("Softmax", IMAGE, [], {"axis": 1}, 13),
    *[(op, IMAGE, [], {"axes": [1, -1], "keepdims": 0}, 11) for op in (
        "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare")],
    ("ReduceLogSumExp", IMAGE, [], {"axes": [2]}, 13), ("ReduceLogSum", np.abs(IMAGE), [], {"axes": [2]}, 13),
    ("ReduceSum", IMAGE, [ints(0, 2)], {}, 13), ("ReduceMax", IMAGE, [ints(1)], {}, 18),
    ("ReduceMax", IMAGE > 0, [ints(1)], {}, 20), ("ReduceSum", IMAGE, [], {"noop_with_empty_axes": 1}, 13),
    ("ArgMax", IMAGE, [], {"axis": 2}, 13), ("ArgMin", IMAGE, [], {"axis": -1, "keepdims": 0}, 13),
    ("CumSum", IMAGE, [np.int64(2)], {"exclusive": 1}, 14), ("CumSum", IMAGE, [np.int64(1)], {"reverse": 1}, 14),
    ("MatMul", wave(2, 3, 4), [wave(4, 5)], {}, 13), ("MatMul", wave(2, 3, 4), [wave(2, 4, 5)], {}, 13),
    ("MatMul", wave(3, 2, 3, 4), [wave(2, 4, 5)], {}, 13), ("MatMul", wave(3, 4), [wave(4)], {}, 13),
    ("Gemm", wave(3, 4), [wave(4, 5), wave(5)], {"alpha": .5, "beta": 2.}, 13),
    ("Gemm", wave(4, 3), [wave(5, 4)], {"transA": 1, "transB": 1}, 13),
    ("Einsum", wave(2, 3, 4), [wave(2, 4, 5)], {"equation": "bij, bjk -> bik"}, 12),
    ("Einsum", wave(2, 3, 4), [], {"equation": "abc->ca"}, 12),
    ("Einsum", wave(2, 3), [wave(3, 4), wave(4, 2)], {"equation": "ij,jk,kl->il"}, 12),
    ("Einsum", wave(2, 3), [wave(2, 3)], {"equation": "ij,ij"}, 12),
    # shapes
    ("Shape", IMAGE, [], {"start": 1, "end": -1}, 15), ("Reshape", IMAGE, [ints(0, -1, 6)], {}, 14),
    ("Flatten", IMAGE, [], {"axis": 2}, 13), ("Squeeze", wave(2, 1, 3, 1), [ints(1)], {}, 13),
    ("Squeeze", wave(2, 1, 3, 1), [], {}, 13), ("Squeeze", wave(2, 1, 3, 1), [], {"axes": [-1]}, 11),
    ("Unsqueeze", wave(2, 3), [ints(0, -1)], {}, 13), ("Unsqueeze", wave(2, 3), [], {"axes": [1]}, 11),
    ("Transpose", IMAGE, [], {"perm": [0, 2, 3, 1]}, 13), ("Concat", wave(2, 3), [wave(2, 1)], {"axis": -1}, 13),
    ("Expand", wave(2, 1, 3), [ints(4, 2, 5, 1)], {}, 13), ("Tile", wave(2, 3), [ints(2, 3)], {}, 13),
    ("Slice", IMAGE, [ints(1, -3), ints(9999, -1), ints(1, 3)], {}, 13),
    ("Slice", IMAGE, [ints(-1), ints(-9999), ints(2), ints(-2)], {}, 13),
    ("Slice", IMAGE, [ints(5), ints(1), ints(2), ints(-1)], {}, 13),
    ("Split", IMAGE, [ints(1, 2, 4)], {"axis": 2}, 13, 3), ("Split", IMAGE, [], {"axis": 3, "num_outputs": 2}, 18, 2),
    ("Gather", IMAGE, [np.array([[0, -1], [2, 3]])], {"axis": 2}, 13),
    ("Gather", IMAGE, [np.int64(1)], {"axis": 1}, 13),
    ("OneHot", ints([1, 3, -1]), [np.int64(4), np.float32([.5, 2.])], {}, 11),
    ("OneHot", ints([1, 3, 0]), [np.int64(4), np.float32([0., 1.])], {"axis": 0}, 11),
    ("DepthToSpace", wave(2, 8, 2, 3), [], {"blocksize": 2}, 13),
    ("DepthToSpace", wave(2, 8, 2, 3), [], {"blocksize": 2, "mode": "CRD"}, 13),
    ("SpaceToDepth", wave(2, 2, 4, 6), [], {"blocksize": 2}, 13),
    ("Pad", IMAGE, [ints(0, 0, 1, 2, 0, 0, 3, 0)], {}, 13),
    ("Pad", IMAGE, [ints(1, 2, 0, 1), np.float32(7), ints(2, 3)], {}, 18),
    ("Pad", IMAGE, [ints(0, 0, 1, 2, 0, 0, 3, 0), np.float32(7)], {}, 13),
    ("Pad", IMAGE, [ints(0, 0, 1, 2, 0, 0, 3, 0)], {"mode": "reflect"}, 13),
    ("Pad", IMAGE, [ints(0, 0, 1, 2, 0, 0, 3, 0)], {"mode": "edge"}, 13),
    ("Pad", IMAGE, [ints(0, 0, 1, 2, 0, 0, 3, 0)], {"mode": "wrap"}, 19),
    # networks
    ("Conv", IMAGE, [wave(5, 4, 3, 2), wave(5)], {}, 11),
    ("Conv", IMAGE, [wave(5, 4, 3, 2)], {"pads": [1, 0, 2, 1], "strides": [2, 1], "dilations": [1, 2]}, 11),
    ("Conv", IMAGE, [wave(6, 2, 3, 3)], {"group": 2}, 11), ("Conv", IMAGE, [wave(4, 1, 3, 3)], {"group": 4}, 11),
    ("Conv", IMAGE, [wave(8, 1, 3, 3)], {"group": 4, "auto_pad": "SAME_LOWER", "strides": [2, 2]}, 11),
    ("Conv", ROW, [wave(2, 3, 3)], {"auto_pad": "SAME_UPPER", "strides": [2]}, 11),
    ("Conv", wave(1, 2, 4, 3, 4), [wave(3, 2, 2, 2, 2)], {}, 11),
    ("ConvTranspose", IMAGE, [wave(4, 3, 3, 2), wave(3)], {"strides": [2, 1], "pads": [1, 0, 0, 1]}, 11),
    ("ConvTranspose", ROW, [wave(3, 2, 3)], {"strides": [2], "dilations": [2]}, 11),
    ("MaxPool", IMAGE, [], {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}, 12),
    ("MaxPool", IMAGE, [], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, 12),
    ("MaxPool", ROW, [], {"kernel_shape": [3], "dilations": [2]}, 12),
    ("AveragePool", IMAGE, [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, 11),
    ("AveragePool", IMAGE, [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}, 11),
    ("AveragePool", IMAGE, [], {"kernel_shape": [2, 4], "strides": [2, 4]}, 11),
    ("AveragePool", IMAGE, [], {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]}, 11),
    ("BatchNormalization", IMAGE, [wave(4), wave(4), wave(4), np.abs(wave(4))], {"epsilon": .01}, 15),
    ("InstanceNormalization", IMAGE, [wave(4), wave(4)], {}, 17),
    ("LayerNormalization", IMAGE, [wave(6), wave(6)], {}, 17),
    ("LayerNormalization", IMAGE, [wave(7, 6)], {"axis": 2}, 17),
    ("Resize", IMAGE, [None, np.float32([1, 1, 2, 3])], {"coordinate_transformation_mode": "asymmetric",
                                                           "nearest_mode": "floor"}, 13),
    ("Resize", IMAGE, [None, np.float32([1, 1, 2, 2])], {"mode": "linear"}, 13),
    ("Resize", IMAGE, [None, np.float32([1, 1, 2, 1.5])], {"mode": "linear", "coordinate_transformation_mode":
                                                              "align_corners"}, 13),
    ("Resize", IMAGE, [None, None, ints(2, 4, 5, 9)], {"mode": "nearest"}, 13)]
# What the reference evaluator computes otherwise than the standard says, or not at all: beside onnxruntime.
BESIDE_PEER = [
    ("Softmax", IMAGE, [], {"axis": 2}, 11), ("LpNormalization", IMAGE, [], {"p": 1, "axis": 1}, 17),
    ("ConvTranspose", IMAGE, [wave(4, 2, 3, 3)], {"group": 2, "strides": [2, 2], "output_padding": [1, 0]}, 11),
    ("ConvTranspose", IMAGE, [wave(4, 2, 3, 3)], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, 11),
    ("ConvTranspose", IMAGE, [wave(4, 2, 3, 3)], {"output_shape": [15, 14], "strides": [2, 2]}, 11),
    ("Resize", IMAGE, [np.float32([1, 1, 2, 2])], {"mode": "nearest"}, 10),
    ("MaxPool", IMAGE, [], {"kernel_shape": [3, 3], "strides": [3, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1}, 12),
    ("AveragePool", IMAGE, [], {"kernel_shape": [3, 3], "strides": [3, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1}, 19),
    ("AveragePool", IMAGE, [], {"kernel_shape": [2, 2], "strides": [3, 3], "ceil_mode": 1, "count_include_pad": 1}, 19)]


def name_of(case):
    return f"{case[0]}-{case[4]}-" + ",".join(f"{k}={v}" for k, v in case[3].items()).replace(" ", "")


def text(body, opset=17):
    """A model from ONNX's textual form."""
    import onnx
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]>\n{body}')


GRAPHS = {
    # the batch stays open through the arithmetic of shapes
    "reshape": """g (float[n, 4, 3] x) => (float[n, 12] y) { s = Shape(x) i = Constant<value = int64[1] {0}>()
       b = Gather(s, i) m = Constant<value = int64[1] {-1}>() t = Concat<axis = 0>(b, m) y = Reshape(x, t) }""",
    "constant of shape": """g (float[n, 4, 3] x) => (float[n, 2] y) { s = Shape(x) a = Constant<value = int64[1] {0}>()
       e = Constant<value = int64[1] {1}>() b = Slice(s, a, e) w = Constant<value = int64[1] {2}>()
       t = Concat<axis = 0>(b, w) y = ConstantOfShape<value = float[1] {2.5}>(t) }""",
    "range": """g (float[n, 4] x) => (float[n, 4] y) { s = Shape(x) z = Constant<value = int64 {0}>() n = Gather(s, z)
       o = Constant<value = int64 {1}>() r = Range(z, n, o) f = Cast<to = 1>(r) c = Constant<value = int64[1] {1}>()
       u = Unsqueeze(f, c) y = Add(x, u) }""",
    "if": """g (float[n, 4] x) => (float[n, 4] y) { c = Constant<value = bool {1}>()
       y = If(c) <then_branch = t () => (float[n, 4] a) { a = Neg(x) },
                  else_branch = e () => (float[n, 4] b) { b = Abs(x) }> }""",
    "scan": """g (float[n, 4] x) => (float[4] last, float[n, 4] y) { z = Constant<value = float[4] {1, 2, 3, 4}>()
       last, y = Scan<num_scan_inputs = 1, body = b (float[4] c, float[4] v) => (float[4] d, float[4] o)
       { k = Constant<value = float[1] {0.5}>() h = Mul(c, k) d = Add(h, v) o = Mul(d, z) }>(z, x) }""",
    "loop": """g (float[n, 4] x) => (float[n, 4] last, float[3, n, 4] y) { m = Constant<value = int64 {3}>()
       t = Constant<value = bool {1}>() last, y = Loop<body = b (int64 i, bool go, float[n, 4] c) =>
       (bool on, float[n, 4] d, float[n, 4] o) { on = Identity(go) f = Cast<to = 1>(i) d = Add(c, f) o = Neg(d) }>
       (m, t, x) }""",
    "while": """g (float[n, 4] x) => (float[n, 4] last) { e = Constant<value = int64 {4}>()
       z = Constant<value = int64 {0}>() t = Constant<value = bool {1}>()
       last, k = Loop<body = b (int64 i, bool go, float[n, 4] c, int64 at) =>
       (bool on, float[n, 4] d, int64 to) { one = Constant<value = int64 {1}>() col = Gather<axis = 1>(x, at)
       ax = Constant<value = int64[1] {1}>() w = Unsqueeze(col, ax) d = Add(c, w) to = Add(at, one) on = Less(to, e) }>
       (, t, x, z) }"""}


def samples(body):
    return wave(3, 4) if "4] x)" in body else wave(3, 4, 3)
