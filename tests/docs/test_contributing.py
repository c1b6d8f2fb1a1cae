"""The worked example of CONTRIBUTING.md runs as it stands: an elementwise op in two files and twelve lines."""
import importlib
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from graphk.codegen.scalars import TABLE
from graphk.ir.node import Graph
from graphk.ir.opdef import REGISTRY
from graphk.ir.ops import elementwise
from graphk.ir.text import parse_graph, print_graph
from tests.ir.test_ops import check_gradient, doubles, evaluate, inputs_for, samples

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
BLOCKS = re.findall(r"```python\n# (\S+)\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def op():
    """The example's op, in the registry for the length of a test."""
    names = dict(vars(elementwise))
    exec(compile(BLOCKS[0][1], BLOCKS[0][0], "exec"), names)
    yield names["swish"]
    del REGISTRY["swish"]


def test_two_files_and_twelve_lines():
    assert [path for path, _ in BLOCKS] == ["graphk/ir/ops/elementwise.py", "graphk/frontend/backend/math_ops.py"]
    assert sum(len(code.strip().splitlines()) for _, code in BLOCKS) <= 12
    assert "swish" not in REGISTRY, "the example's op exists by now: choose another for the example"


def test_the_op_has_all_that_the_text_promises(op):
    scalars = SimpleNamespace(**{name: s.ref for name, s in TABLE.items()})
    for arrays, attrs in samples(op):
        ins = inputs_for(arrays)
        y = op(*ins, **attrs)
        want = op.ref(*arrays)
        np.testing.assert_array_equal(evaluate(y, ins, arrays), want)
        np.testing.assert_allclose(op.scalar(scalars, *arrays), want, rtol=1e-5, atol=1e-6)
        graph = Graph(tuple(ins), (y,))
        assert print_graph(parse_graph(print_graph(graph))) == print_graph(graph)
        check_gradient(op, doubles(arrays))


def test_the_backend_function(op, monkeypatch):
    path = BLOCKS[1][0].removesuffix(".py").replace("/", ".")
    module = importlib.import_module(path)
    monkeypatch.setattr(elementwise, "swish", op, raising=False)
    names = dict(vars(module))
    exec(compile(BLOCKS[1][1], BLOCKS[1][0], "exec"), names)
    from graphk import backend as K
    x = np.linspace(-3, 3, 7, dtype="float32")
    want = x / (1 + np.exp(-x))
    np.testing.assert_allclose(K.eval(names["swish"](K.variable(x))), want, rtol=1e-6, atol=1e-6)
    p = K.placeholder((None,))
    np.testing.assert_allclose(K.function([p], [names["swish"](p)])([x])[0], want, rtol=1e-6, atol=1e-6)
