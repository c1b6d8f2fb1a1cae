"""`--target`: what each command says of a processor or a GPU that is not the one that runs the model."""
from pathlib import Path

import pytest

from graphk import inspection
from graphk.codegen import cuda_compile, other_cpu
from graphk.codegen.target import Target, host_target
from graphk.inspection import cli
from graphk.inspection.costing import NO_ROOF
from graphk.inspection.optimizing import compare, optimize
from graphk.inspection.subjects import dims_for, of_phase
from graphk.ir.text import parse_graph
from graphk.runtime.compile import Executable
from tests.inspection.shell import graphk
from tests.inspection.test_report import parts_of

SCRIPT = """import numpy as np
from keras.layers import Dense
from keras.models import Sequential
Sequential([Dense(40, input_shape=(30,))]).predict(np.zeros((64, 30)), batch_size=64)
"""


@pytest.fixture()
def no_ptx(monkeypatch):
    """As where numba-cuda is not installed."""
    monkeypatch.setattr(cuda_compile, "available", lambda: False)


@pytest.mark.parametrize("command", cli.OF_SCRIPTS)
def test_every_command_takes_a_target_and_refuses_what_is_none(command, file):
    names = {"diff": ["captured", "fuse"], "why": ["first", "last"], "kernel": ["k0"]}.get(command, [])
    code, out, err = graphk(command, *names, "--target", "nope", file)
    assert (code, out) == (2, "") and f"graphk {command}: --target nope: LLVM knows no processor 'nope'" in err
    code, _, err = graphk(command, *names, "--target", "cuda", "--capability", "nine", file)
    assert code == 2 and "--capability 'nine': expected a number such as 9.0" in err


def test_what_runs_here(monkeypatch):
    def on(features):
        monkeypatch.setattr(other_cpu, "host_target", lambda: Target(8, "mine", features, False, "x86_64-any"))
        return [other_cpu.runs_here(Target(4, cpu, "", False, "x86_64-linux")) for cpu in
                ("mine", "x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4", "znver4")]
    v2 = "+ssse3,+sse4.1,+sse4.2,+popcnt"
    v3 = v2 + ",+avx2,+fma,+bmi,+bmi2,+f16c,+lzcnt,+movbe"
    assert on("") == [True, True, False, False, False, False]
    assert on(v2 + ",-avx2,-fma") == [True, True, True, False, False, False]
    assert on(v3) == [True, True, True, True, False, False]
    assert not other_cpu.runs_here(Target(4, "mine", "", False, "aarch64-linux"))


def test_memory_of_another_processor_is_that_of_its_executable(model):
    """The oracle is an executable for that processor, whose own bytes are asked."""
    s, = of_phase(model, "train")
    env = dims_for(s.program, 300)
    for name in ("scalar", "avx2"):
        other = s.on(name)
        made = Executable(s.executable.result, s.executable.variables, other.target, s.executable.executor)
        assert s.executable.packed_bytes(env, other.target) == made.packed_bytes(env)
        assert s.executable.workspace_bytes(env, other.target) == made.workspace_bytes(env)


def test_memory_and_summary_of_a_gpu_have_neither_workspace_nor_panels(file, model):
    here, there = (str(inspection.memory(model, 300, phase="train", target=t)).splitlines() for t in ("scalar", "cuda"))
    cells = [[c.strip() for c in lines[1].split("  ") if c.strip()] for lines in (here, there)]
    assert cells[0][2:4] == cells[1][2:4] and cells[0][7:] == cells[1][7:] and cells[1][4:7] == ["0 B"] * 3
    assert graphk("memory", "--batch", "300", "--phase", "train", "--target", "cuda", file)[1].splitlines() == there
    assert {m.bytes[1:4] for m in inspection.summary(model, target="cuda").memory} == {(0, 0, 0)}
    assert inspection.summary(model, target="cuda").layers == inspection.summary(model).layers


def test_memory_of_a_scripts_graphs_on_a_gpu(tmp_path):
    (tmp_path / "net.py").write_text(SCRIPT)
    rows = [graphk("memory", "--target", t, str(tmp_path / "net.py"))[1].splitlines()[1].split() for t in
            ("cpu", "cuda")]
    assert rows[0][:4] == rows[1][:4] and rows[0][8:10] != ["0", "B"] == rows[1][8:10]


# ------------------------------------------------------------------ costs and times
def test_cost_without_a_machine_has_no_floors(file, model):
    here, there = inspection.cost(model, phase="predict"), inspection.cost(model, phase="predict", target="cuda")
    assert there[0].machine is None and here[0].machine is not None
    assert [line.flops for line in there[0].lines] == [line.flops for line in here[0].lines]
    code, out, _ = graphk("cost", "--target", "cuda", "--phase", "predict", file)
    assert code == 0 and NO_ROOF in out and "floor" not in out.replace(NO_ROOF, "") and "layers" in out


def test_cost_under_a_roof_that_is_given(file, model):
    table = inspection.cost(model, phase="predict", target="cuda", roof=(1e6, 1e12))
    floors = [line.floor for line in table[0].lines]
    assert floors == pytest.approx([line.flops / 1e6 for line in table[0].lines])
    code, out, _ = graphk("cost", "--target", "cuda", "--roof", "1e6,1e12", "--phase", "predict", file)
    assert code == 0 and out.startswith("peak 1 MFLOP/s (as given)\nbandwidth 1 TB/s (as given)\n")
    with pytest.raises(ValueError, match="expected two positive numbers"):
        inspection.cost(model, roof=(0, 1))
    with pytest.raises(SystemExit):
        graphk("cost", "--roof", "1e6", file)


def test_this_machines_processor_with_narrower_vectors(model):
    wide, narrow = inspection.cost(model, target="cpu")[0].machine, inspection.cost(model, target="scalar")[0].machine
    assert narrow.peak < wide.peak and f"x {host_target().lanes} float32 lanes" in str(wide)
    found = inspection.profile(model, phase="predict", target="scalar")
    assert found[0].call > 0 and "x 1 float32 lanes" in str(found[0].machine)


def test_what_is_not_here_is_not_timed(file, model):
    code, out, err = graphk("profile", "--target", "cuda", "--phase", "predict", file)
    assert (code, out) == (2, "") and "a GPU of compute capability 9.0 is not this machine's processor" in err
    with pytest.raises(ValueError, match="is not this machine's processor, so no time can be measured; `graphk cost`"):
        inspection.profile(model, target="nocona" if host_target().cpu != "nocona" else "core2")


# ------------------------------------------------------------------ code
def test_dump_of_another_target(file, model, tmp_path, no_ptx):
    code, _, _ = graphk("dump", "--target", "cuda", "--format", "text", "--phase", "predict", "--out",
                        str(tmp_path / "d"), file)
    texts = [p.read_text() for p in (tmp_path / "d").rglob("kernels/*.py")]
    assert code == 0 and texts and all("cuda." in text for text in texts)
    assert "workspace" not in next((tmp_path / "d").rglob("memory.txt")).read_text()
    code, _, err = graphk("dump", "--target", "cuda", "--kernels", "--format", "text", "--out", str(tmp_path / "e"),
                          file)
    assert code == 2 and "pip install graphk[cuda13]" in err
    inspection.dump(model, tmp_path / "f", ["text"], phase="predict", target="avx512")
    assert any("zmm" in p.read_text() for p in (tmp_path / "f").rglob("kernels/*.s"))


def test_what_is_the_same_for_all_says_so(file):
    for arguments, said in ((["why", "first", "last"], "what becomes a kernel is"),
                            (["diff", "simplify", "fuse"], "what passes change is"),
                            (["dump", "--out", "-", "--after", "memory"], "what a pass makes is")):
        plain, other = (graphk(*arguments, *t, "--phase", "predict", file) for t in ((), ("--target", "cuda")))
        assert plain[:2] == other[:2] and plain[2] == ""
        assert other[2] == f"graphk {arguments[0]}: note: {said} the same for every target\n"


def test_report_of_a_gpu(file, model, tmp_path, no_ptx):
    page = tmp_path / "p.html"
    assert graphk("report", "--target", "cuda", "--capability", "8.6", "-o", str(page), file)[0] == 0
    text = page.read_text()
    assert "a GPU of compute capability 8.6" in text and "PTX is not shown: it needs the package numba-cuda" in text
    assert "cuda.grid" in parts_of(text)["kernels"] and "Times were not measured" in parts_of(text)["steps0"]


@pytest.mark.skipif(not cuda_compile.available(), reason="numba-cuda is not installed")
def test_ptx_in_dumps_and_pages(model, tmp_path):
    inspection.dump(model, tmp_path / "d", ["text"], phase="predict", target="cuda")
    assert all(".visible .entry" in p.read_text() for p in (tmp_path / "d").rglob("kernels/*.ptx"))
    page = inspection.report(model, tmp_path / "p.html", phase="predict", target="cuda")
    parts = parts_of(Path(page).read_text())
    assert "CUDA source beside PTX" in parts["kernels"] and ".visible .entry" in parts["listings"]


@pytest.mark.parametrize("target", ["scalar", "cuda"])
def test_passes_are_compared_on_another_target(target, tmp_path):
    text = "graph g(%x: f32[n,5]) { var %w: f32[5,3] %0 = dot(%x, %w) %1 = mul(%w, %w) return %0 update %w = %1 }"
    graph = parse_graph(text)
    found = compare(graph, optimize(graph).ir, sizes={"n": 3}, target=target)
    assert [r[0] for r in found.rows] == ["output 0", "w"] and found.rows[0][3] < 1e-5 and found.rows[1][2] == 0
    (tmp_path / "g.gk").write_text(text)
    code, out, _ = graphk("opt", "--run", "--target", target, str(tmp_path / "g.gk"))
    assert code == 0 and "compiled against interpreted, n = 16" in out


def test_passes_are_not_compared_where_nothing_runs(tmp_path, monkeypatch):
    (tmp_path / "g.gk").write_text("graph g(%x: f32[n]) { %0 = exp(%x) return %0 }")
    monkeypatch.setattr(other_cpu, "runs_here", lambda target: False)
    code, _, err = graphk("opt", "--run", "--target", "avx512", str(tmp_path / "g.gk"))
    assert code == 2 and "code for avx512 does not run on this machine's processor; expected cpu, cuda" in err
    assert "what passes make is the same" in graphk("opt", "--target", "avx512", str(tmp_path / "g.gk"))[2]


def test_a_library_is_for_a_processor(model, tmp_path):
    with pytest.raises(ValueError, match="a C library is for a processor"):
        inspection.export(model, tmp_path / "n", cpu="cuda")
