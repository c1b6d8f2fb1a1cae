"""PTX as machine code: what kernels take of a GPU."""
import pytest

from graphk.codegen import cuda_compile, cuda_link
from graphk.codegen.cuda import CudaSource, Launch
from graphk.codegen.cuda_compile import compile_ptx
from graphk.codegen.cuda_link import LIMITS, compile_binary, occupancy, resources
from tests.codegen.test_cuda import small_graphs, sources

NEEDS_PACKAGE = pytest.mark.skipif(not (cuda_link.available() and cuda_compile.available()),
                                   reason="machine code needs nvJitLink: pip install graphk[cuda13]")


@NEEDS_PACKAGE
@pytest.mark.parametrize("capability", cuda_compile.CAPABILITIES, ids=lambda c: f"{c[0]}.{c[1]}")
def test_kernels_spill_nothing(capability):
    """As PTX of the first version that knows the GPU, so that drivers older than the packages load it."""
    version = f".version {'8.6' if capability > (9, 0) else '7.8'}\n"
    for name in ("elementwise", "rows", "columns", "dot_with_epilogue"):
        for source in sources(small_graphs()[name]):
            assert all(version in text for text in compile_ptx(source, capability).values())
            for launch, found in resources(source, capability).items():
                assert 0 < found.registers <= 255 and found.spills == 0 and 0 < found.occupancy <= 1, (name, launch)
                stage, out = 2 * 64 * 36 * 4, 64 * 64 * 4                   # of a tile
                assert found.shared == {"elementwise": 0, "rows": 16, "columns": 1024}.get(name, stage + out)


@NEEDS_PACKAGE
def test_machine_code_has_the_launch_as_its_entry():
    for source in sources(small_graphs()["full_reduction"]):
        for name, code in compile_binary(source).items():
            assert code.startswith(b"\x7fELF") and f".text.{name}\0".encode() in code
        assert compile_binary(source) == compile_binary(source)


@NEEDS_PACKAGE
def test_many_arguments_take_a_newer_version():
    names = [f"p{k}" for k in range(520)]
    text = f"def k_0({', '.join(names)}):\n    p0[0] = p519[0]\n"
    source = CudaSource(text, (Launch("k_0", 1, (32,)),), ("float32",) * 520, ())
    ptx, = compile_ptx(source, (7, 5)).values()
    assert ".version 8.1\n" in ptx and cuda_link._link(ptx, (7, 5))[0]


@NEEDS_PACKAGE
def test_ptx_that_is_none_is_an_error():
    with pytest.raises(RuntimeError, match="does not become machine code for compute capability 9.0"):
        cuda_link._link("nothing", (9, 0))


def test_occupancy_follows_the_scarcest():
    assert occupancy(32, 0, 128, (9, 0)) == 1.0
    assert occupancy(64, 0, 256, (9, 0)) == 0.5                             # registers: 4 blocks of 8 warps
    assert occupancy(32, 56 << 10, 128, (9, 0)) == 4 * 4 / 64               # shared memory: 4 blocks
    assert occupancy(32, 0, 32, (9, 0)) == 0.5                              # blocks: 32 of a warp each
    assert occupancy(32, 0, 128, (8, 7)) == occupancy(32, 0, 128, (8, 6))   # the nearest that is known
    assert all(occupancy(40, 1024, 128, c) <= 1 for c in LIMITS)


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(cuda_link, "available", lambda: False)
    with pytest.raises(cuda_compile.CudaMissing, match=r"pip install graphk\[cuda13\]"):
        cuda_link._link("", (9, 0))
