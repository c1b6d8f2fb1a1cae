"""Every kernel of the ops' samples and of models' train steps: on the simulated GPU, and as PTX."""
import numpy as np
import pytest

from graphk.codegen import cuda_compile
from graphk.codegen.cuda import print_cuda
from graphk.ir.interp import run_full
from graphk.ir.program import flat_steps
from graphk.passes.pipeline import run_passes
from graphk.runtime.device_sim import run_program
from tests.codegen.cuda_models import MODELS, capability_of, train_step
from tests.programs import op_graphs

NEEDS_PACKAGE = pytest.mark.skipif(not cuda_compile.available(), reason="PTX needs the package numba-cuda: "
                                   "pip install graphk[cuda13]")


@pytest.mark.parametrize("threads, tile", [(8, 4), (64, 16)])
@pytest.mark.parametrize("name", MODELS)
def test_a_train_step_is_what_the_interpreter_computes(name, threads, tile):
    graph, arrays, state = train_step(name)
    outs, after = run_program(run_passes(graph, phase=1), arrays, state, threads, tile)
    want, updates = run_full(graph, arrays, state, 1)
    for got, expected in zip([*outs, *(after[v] for v in updates)], [*want, *updates.values()], strict=True):
        assert got.shape == expected.shape and got.dtype == expected.dtype
        np.testing.assert_allclose(got, expected, rtol=3e-5, atol=3e-5)


def kernels_of(graph, phase):
    return [s.kernel for s in flat_steps(run_passes(graph, phase=phase).program.steps)]


def compiles(kernel, name, tile=64):
    source = print_cuda(kernel, tile=tile)
    capability = capability_of(source)
    for launch, text in cuda_compile.compile_ptx(source, capability).items():
        assert f".target sm_{capability[0]}{capability[1]}" in text, (name, launch)
        wide = any(x in str(kernel) for x in ("f64", "sin(", "cos("))     # sines of large numbers take float64
        assert wide or ".f64" not in text, f"{name}: float32 kernels compute in float32\n{kernel}"
        assert ".extern .func" not in text, f"{name}: nothing is left to link\n{kernel}"


@NEEDS_PACKAGE
@pytest.mark.parametrize("part", range(4))
def test_every_op_compiles(part):
    """Each kernel for one capability."""
    found = {}
    for name, graph in op_graphs():
        for kernel in kernels_of(graph, 1):
            found.setdefault(kernel.key(), (name, kernel))
    assert len(found) > 150
    for i, (name, kernel) in enumerate(found.values()):
        if i % 4 == part:
            compiles(kernel, name, tile=16)            # small ones are quick to compile


@NEEDS_PACKAGE
@pytest.mark.parametrize("name", MODELS)
def test_every_train_step_compiles(name):
    for kernel in dict.fromkeys(kernels_of(train_step(name)[0], 1)):
        compiles(kernel, name)
