"""`opt`, `diff`, `why`, `kernel`, drawings and stages on standard output."""
import os
import xml.dom.minidom

import numpy as np
import pytest

from graphk import backend as K
from graphk import inspection
from graphk.codegen import cuda_compile
from graphk.inspection.changes import Stages, nodes_of
from graphk.inspection.drawing import html, svg
from graphk.inspection.facts import layers_of_steps, record_named
from graphk.inspection.optimizing import NAMES, compare, optimize
from graphk.inspection.subjects import of_phase
from graphk.ir.effects import root_of
from graphk.ir.node import Graph, replacements
from graphk.ir.ops.elementwise import neg
from graphk.ir.text import parse_graph, parse_program, print_graph
from graphk.layers import BatchNormalization, Conv2D
from graphk.models import Sequential
from graphk.passes.fuse import LONGEST
from tests.inspection.shell import graphk

TEXT = """graph g(%x: f32[n,6]) {
  var %w: f32[6,4]
  %0: f32[n,4] = dot(%x, %w)
  %1: f32[n,4] = softmax(%0; axis=1)
  %2: f32[n,4] = log(%1)
  %3: f32[6,4] = mul(%w, %w)
  return %2
  update %w = %3
}
"""


@pytest.fixture()
def text(tmp_path):
    (tmp_path / "g.gk").write_text(TEXT)
    return str(tmp_path / "g.gk")


# ------------------------------------------------------------------ opt
def test_opt_prints_text_that_parses_back(text):
    code, out, _ = graphk("opt", "--passes", "simplify", text)
    assert code == 0 and "log_softmax" in out and print_graph(parse_graph(out)) == out
    code, out, _ = graphk("opt", text)
    assert code == 0 and parse_program(out).planned and str(parse_program(out)) + "\n" == out


def test_opt_goes_on_where_it_stopped(text, tmp_path):
    whole = graphk("opt", text)[1]
    for at in range(1, len(NAMES)):
        (tmp_path / "part.gk").write_text(graphk("opt", "--passes", ",".join(NAMES[:at]), text)[1])
        code, out, err = graphk("opt", "--passes", ",".join(NAMES[at:]), str(tmp_path / "part.gk"))
        assert code == 0, (NAMES[at:], err)
        if NAMES[at] != "lower":                                   # notes, and names of buffers, depend on the run
            assert parse_program(out).steps[0].kernel.label == parse_program(whole).steps[0].kernel.label


@pytest.mark.parametrize("passes", [None, ["simplify"], ["decompose", "fuse"], ["decompose", "fuse", "lower"]])
def test_opt_compares_with_the_interpreter(passes):
    graph = parse_graph(TEXT)
    found = compare(graph, optimize(graph, passes).ir, sizes={"n": 5})
    assert found.sizes == {"n": 5} and [r[0] for r in found.rows] == ["output 0", "w"]
    assert found.rows[0][3] < 1e-5 and found.rows[1][2] == 0
    assert "w                        f32[6,4]             equal bits" in str(found)


def test_opt_run_and_time(text):
    code, out, err = graphk("opt", "--run", "--time", "--dim", "n=3", text)
    assert code == 0 and "compiled against interpreted, n = 3" in out
    assert [line.split()[0] for line in err.splitlines()] == [*NAMES, "all"]


@pytest.mark.parametrize("stage", ["fuse", "lower", "schedule", "memory"])
def test_the_text_of_every_later_stage_goes_on_and_runs(text, tmp_path, stage):
    at = NAMES.index(stage) + 1
    part = tmp_path / "part.gk"
    part.write_text(graphk("opt", "--passes", ",".join(NAMES[:at]), text)[1])
    code, out, err = graphk("opt", "--time", str(part))
    assert code == 0 and parse_program(out).planned and [s.split()[0] for s in err.splitlines()] == [*NAMES[at:], "all"]
    code, out, err = graphk("opt", "--run", "--dim", "n=3", str(part))
    assert code == 0, err
    head, first, second = out.splitlines()
    assert head == f"compiled against {'interpreted' if stage == 'fuse' else 'simulated'}, n = 3:"
    assert first.startswith("output 0 ") and second.startswith("w ") and second.endswith("equal bits")
    share = float(first.split()[-5]) if "differs" in first else 0
    assert share < 1e-5


def test_a_program_is_compared_with_what_another_generator_made():
    graph = parse_graph(TEXT)
    changed = Graph(graph.inputs, (neg(graph.outputs[0]),), graph.updates)
    found = compare(optimize(graph).ir, optimize(changed).ir, sizes={"n": 3})
    assert [r[0] for r in found.rows] == ["output 0", "w"] and found.rows[0][3] > 1 and found.rows[1][2] == 0


def test_a_program_is_not_compared_with_itself(text, tmp_path):
    (tmp_path / "p.gk").write_text(graphk("opt", text)[1])
    code, _, err = graphk("opt", "--run", "--target", "cuda", str(tmp_path / "p.gk"))
    assert code == 2 and "compared with the simulated GPU, and so not on cuda" in err
    assert "the program has no size 'k'; it has n" in graphk("opt", "--run", "--dim", "k=1", str(tmp_path / "p.gk"))[2]


@pytest.mark.parametrize("passes, message", [
    ("nope", "there is no pass 'nope'; expected some of specialize, recurrent"),
    ("decompose,shapes", "`shapes` comes before `decompose`: passes run in the order specialize"),
    ("fuse", "the pass `fuse` takes primitives, and `softmax` is a composite .*: run `decompose` before it"),
    ("lower", "the pass `lower` makes kernels of groups, and this graph has none: run `fuse`"),
    ("memory", "the pass `memory` takes a program, and this is a graph: run `schedule` before it")])
def test_opt_says_what_is_missing(text, passes, message):
    with pytest.raises(ValueError, match=message):
        inspection.opt(TEXT, passes.split(","))
    code, out, err = graphk("opt", "--passes", passes, text)
    assert code == 2 and out == "" and err.startswith(f"graphk opt: {text}: ")


def test_opt_reports_wrong_text(tmp_path):
    (tmp_path / "bad.gk").write_text("graph g(%x: f32[n]) { %0 = nope(%x) return %0 }")
    code, _, err = graphk("opt", str(tmp_path / "bad.gk"))
    assert code == 2 and "bad.gk: line 1, column " in err and "nope" in err
    assert "cannot read 'missing.gk'" in graphk("opt", "missing.gk")[2]


# ------------------------------------------------------------------ dump
@pytest.mark.parametrize("after", ["captured", "simplify2", "fuse"])
def test_a_stage_to_standard_output_parses_back(file, after):
    code, out, _ = graphk("dump", "--out", "-", "--after", after, "--phase", "train", file)
    assert code == 0 and print_graph(parse_graph(out)) == out
    assert not os.path.exists("-")


def test_standard_output_takes_one_stage_of_one_graph(file):
    assert "choose one with --phase" in graphk("dump", "--out", "-", "--after", "fuse", file)[2]
    assert "name it with --after PASS" in graphk("dump", "--out", "-", "--phase", "train", file)[2]


@pytest.mark.parametrize("after", ["simplify", "fuse", "memory"])
def test_drawings_are_whole(file, after):
    code, out, _ = graphk("dump", "--out", "-", "--after", after, "--format", "svg", "--phase", "train", file)
    drawn = xml.dom.minidom.parseString(out)
    assert code == 0 and len(drawn.getElementsByTagName("rect")) > 8 and drawn.getElementsByTagName("polyline")


def test_drawing_of_a_loop_and_a_page():
    x = K.placeholder(shape=(None, 4, 2), name="<x>")
    last, _, _ = K.rnn(lambda t, s: (t + s[0], [t + s[0]]), x, [K.zeros_like(x[:, 0])])
    s, = of_phase(K.function([x], [last]), None)
    xml.dom.minidom.parseString(svg(s.records[-4].after))
    assert "&lt;x&gt;" in html("a loop", s.captured, "text") and "loop" in svg(s.program)


# ------------------------------------------------------------------ diff
def test_diff_names_rules_layers_and_lines(model):
    found, = inspection.diff(model, "specialize", "simplify", phase="predict")
    assert not found.changes or all(c.rules for c in found.changes)
    found, = inspection.diff(model, "captured", "specialize", phase="predict")
    phase = next(c for c in found.changes if c.before and "phase_select" in c.before)
    assert phase.kind == "replaced" and phase.rules == ("specialize: phase",) and phase.layer == "drop"
    gone = next(c for c in found.changes if "bernoulli" in c.before)
    assert gone.kind == "removed" and "no longer read since" in gone.rules[-1]
    made, = inspection.diff(model, "simplify", "decompose", phase="predict")
    exp = next(c for c in made.changes if "= exp(" in c.after)
    assert exp.kind == "added" and exp.layer == "last" and "part of what replaced" in exp.rules[-1]
    assert f"{sum(c.kind == 'added' for c in made.changes)} added" in str(made)


def test_diff_misses_no_node(model):
    s, = of_phase(model, "train")
    stages = Stages(s)
    for first, last in zip(stages.names[:8], stages.names[1:9]):
        before, after = (set(nodes_of(stages.after[n])) for n in (first, last))
        found, = inspection.diff(model, first, last, phase="train")
        kinds = [c.kind for c in found.changes]
        told = len(kinds) - kinds.count("added") + found.rebuilt + found.same
        assert told == len(before), (first, last)
        assert (not found.changes and not found.rebuilt) == (before == after)


def test_diff_of_fused_graphs_and_programs(model):
    groups, = inspection.diff(model, "slices", "fuse", phase="predict")
    assert any("the dot kernel `dot_add_relu` of %" in r for c in groups.changes for r in c.rules)
    steps, = inspection.diff(model, "fuse", "lower", phase="predict")
    assert [c.after.split("(")[0] for c in steps.changes][0] == "step 0: dot_add_relu"
    plan, = inspection.diff(model, "lower", "schedule", phase="predict")
    assert "schedule tile(" in str(plan)


def test_diff_says_what_is_wrong(model, file):
    with pytest.raises(ValueError, match="there is no pass 'nope'; expected one of captured, specialize"):
        inspection.diff(model, "nope", "fuse")
    with pytest.raises(ValueError, match="`simplify` does not come after `fuse`"):
        inspection.diff(model, "fuse", "simplify")
    assert graphk("diff", "fuse", "simplify", file)[0] == 2
    code, out, _ = graphk("diff", "captured", "specialize", "--phase", "predict", file)
    assert code == 0 and "phase_select" in out


def test_nothing_is_kept_while_nobody_watches():
    graph = parse_graph("graph g(%x: f32[n,3]) { %0 = exp(%x) %1 = log(%0) return %1 }")
    with replacements() as seen, replacements() as inner:
        optimize(graph, ["simplify"])
    assert seen == inner and [rule for *_, rule in seen] == ["log-exp"]
    optimize(graph, ["simplify"])
    assert len(seen) == 1


# ------------------------------------------------------------------ why
def function(make, *shapes):
    places = [K.placeholder(shape=s) for s in shapes]
    outputs = make(*places)
    return K.function(places, outputs if isinstance(outputs, list) else [outputs])


def test_why_together(model):
    answer, = inspection.why(model, "first", "dot_add_relu", phase="predict")
    assert answer.together and any("joined" in r for r in answer.reasons)
    assert "in one kernel: `dot_add_relu` (dot, 3 nodes, loops over (n, 6))" in str(answer)


def test_why_apart_with_rule_and_numbers():
    f = function(lambda a, b, c: K.dot(K.dot(a, b), c), (None, 5), (5, 6), (6, 7))
    answer, = inspection.why(f, "%0", "%1", batch=10)
    assert not answer.together and "operands of a contraction are read from memory" in answer.reasons[0] or (
        "contraction" in answer.reasons[0])
    assert "so it is stored: f32[" in str(answer) and "240 B" in str(answer)


def test_why_of_a_value_that_is_computed_again():
    x, w = K.placeholder((None, 4)), K.variable(np.ones(4))
    d = x - w
    f = K.function([x], [d / K.sum(d)])
    for other, label in (("%1", "sub_sum"), ("%2", "sub_div")):
        answer, = inspection.why(f, "%0", other)
        assert answer.together and f"in one kernel: `{label}`" in str(answer) and "stored:" not in str(answer)
        assert len(answer.reasons) == 1 and "computed again, of what is stored anyway" in answer.reasons[0]
    assert not inspection.why(f, "%1", "%2")[0].together
    assert all(inspection.why(f, label, "%0")[0].together for label in ("sub_sum", "sub_div"))


def test_why_of_a_long_chain():
    def chain(x):
        for i in range(LONGEST + 8):
            x = K.sin(x) if i % 2 else K.cos(x)
        return x
    f = function(chain, (None, 3))
    answer, = inspection.why(f, "%0", f"%{LONGEST + 7}")
    assert not answer.together and f"the kernel has {LONGEST} operations already" in answer.reasons[0]
    assert "they are not neighbours" in str(answer)


@pytest.mark.parametrize("make, shapes, said", [
    (lambda x: K.exp(K.reshape(K.exp(x), (-1, 2))), [(None, 4)], "another view of the same memory"),
    (lambda x: K.exp(K.concatenate([K.exp(x), x])), [(None, 4)], "lowered to copies"),
    (lambda x, y: [K.exp(x), K.sin(y)], [(None, 4), (None, 3)], "neither is computed from the other")])
def test_why_is_never_silent(make, shapes, said):
    f = function(make, *shapes)
    s, = of_phase(f, None)
    count = len([n for n in next(r.before for r in s.records if r.name == "fuse").nodes() if n.op.kind != "leaf"])
    answer, = inspection.why(f, "%0", f"%{count - 1}")
    assert not answer.together and answer.reasons and said in str(answer)


def test_why_of_loops_and_leaves(model):
    answer, = inspection.why(model, "first/kernel:0", "last", phase="predict")
    assert "is given, not computed" in str(answer)
    x = K.placeholder(shape=(None, 4, 2))
    last, _, _ = K.rnn(lambda t, s: (K.tanh(t + s[0]), [t + s[0]]), x, [K.zeros_like(x[:, 0])])
    f = K.function([x], [K.exp(last)])
    s, = of_phase(f, None)
    graph = next(r.before for r in s.records if r.name == "fuse")
    ops = [n for n in graph.nodes() if n.op.kind != "leaf"]
    loop = next(i for i, n in enumerate(n for n in graph.nodes() if n.op.name not in ("input", "variable"))
                if n.op.name == "scan")
    assert ops and not inspection.why(f, f"%{loop}/0", f"%{loop}")[0].together


def test_why_every_pair_of_neighbours_is_answered(model):
    s, = of_phase(model, "train")
    from graphk.inspection.apart import Fused
    graph = next(r.before for r in s.records if r.name == "fuse")
    fused = Fused({"n": 32})
    fused.add(graph)
    for n in graph.nodes():
        for i in n.inputs:
            lines, reasons = fused.edge(i, n)
            assert lines and (reasons or "united" in lines[0]), (i, n)


def test_why_lists_what_there_is(model, file):
    with pytest.raises(ValueError, match="no layer, node or kernel 'nope' .* Layers: first, .*kernels: dot_add_relu"):
        inspection.why(model, "nope", "first", phase="predict")
    code, out, err = graphk("why", "nope", "first", file)
    assert (code, out) == (2, "") and "Layers: first" in err
    code, out, _ = graphk("why", "first", "last", "--phase", "predict", file)
    assert code == 0 and "predict: first and last are in different kernels" in out


# ------------------------------------------------------------------ kernel
def test_kernel_table_and_views(file):
    code, table, _ = graphk("kernel", "--phase", "predict", file)
    assert code == 0 and "dot_add_relu" in table and "first" in table
    name = "add_reduce_max_sub_exp_sum"
    code, out, _ = graphk("kernel", name, "--source", "--llvm", "--asm", "--cuda", "--phase", "predict", file)
    heads = [line for line in out.splitlines() if f"`{name}`, " in line]
    assert code == 0 and [h.split("`, ")[1].split(":")[0] for h in heads] == ["source", "llvm", "asm", "cuda"]
    assert "def k_0(args, tid, nt):" in out and "define" in out and ".globl" in out and "cuda.grid" in out
    assert out.count("predict, step 2: layers last") == 4
    assert "acc r0" in graphk("kernel", "k0", "--phase", "predict", file)[1]
    of_layer = graphk("kernel", "last", "--phase", "predict", file)[1]
    assert f"`{name}`" in of_layer and "layers first" not in of_layer


def test_kernel_errors(file, model, monkeypatch):
    code, _, err = graphk("kernel", "nope", "--phase", "predict", file)
    assert code == 2 and "no kernel 'nope', and no layer of that name has one; there are k0 (dot_add_relu)" in err
    assert "shows one kernel; name it" in graphk("kernel", "--asm", file)[2]
    with pytest.raises(ValueError, match="no view 'elf'; expected one of text, source, llvm"):
        inspection.kernel(model, "k0", "elf")
    monkeypatch.setattr(cuda_compile, "available", lambda: False)
    code, _, err = graphk("kernel", "k0", "--ptx", "--phase", "predict", file)
    assert code == 2 and "pip install graphk[cuda13]" in err


def test_kernel_for_another_target(file, model):
    def shown(*more):
        return graphk("kernel", "k0", "--phase", "predict", *more, file)
    assert "zmm" in shown("--asm", "--target", "avx512")[1]
    assert "zmm" not in shown("--asm", "--target", "avx2")[1]
    assert "for znver4" in shown("--asm", "--target", "znver4")[1]
    cuda = shown("--cuda")[1]
    assert "cuda." in cuda and shown("--target", "cuda")[1] == shown("--target", "cuda", "--source")[1] == cuda
    code, _, err = shown("--target", "nope")
    assert code == 2 and "--target nope: LLVM knows no processor" in err
    assert "no LLVM IR here" in shown("--llvm", "--target", "cuda")[2]
    assert "ymm" in str(inspection.kernel(model, "k0", "asm", "predict", target="avx2"))


def unnamed(program, layers):
    """Steps that read a weight of a layer that is not among theirs: (number, weight)."""
    roots, table = root_of(program), {b.name: b for b in program.buffers}
    read = [(i, table[roots[name]]) for i, step in enumerate(program.steps) for name in step.buffers]
    return [(i, b.node.attr("name")) for i, b in read if b.place == "variable" and i in layers
            and b.node.attr("name").split("/")[0] not in layers[i]]


def test_steps_have_the_layers_of_their_nodes():
    """A step's number is its place in the program that runs, which `memory` reorders: steps of the same kernel, such as
    those that make factors of normalizations' weights, go to the front."""
    model = Sequential([Conv2D(4, 3, input_shape=(8, 8, 3), name="c0")])
    for i in range(3):
        model.add(BatchNormalization(name=f"b{i}"))
        model.add(Conv2D(4, 3, padding="same", activation="relu", name=f"c{i + 1}"))
    s, = of_phase(model, "predict")
    layers = layers_of_steps(s.program)
    assert len(layers) >= 7 and unnamed(s.program, layers) == []
    before = layers_of_steps(record_named(s, "schedule").after)
    assert len(unnamed(s.program, before)) >= 4, "the order before `memory` would be wrong"
    table = str(inspection.kernel(model, phase="predict"))
    rows = {line.split()[1]: line.split("  ")[-1] for line in table.splitlines()[1:]}
    assert rows["add_rsqrt_mul"] == "b0, b1, b2" and rows["dot_add_sub_mul"] == "c0, b0"


@pytest.mark.skipif(not cuda_compile.available(), reason="numba-cuda is not installed")
def test_kernel_as_ptx(model):
    assert ".visible .entry" in str(inspection.kernel(model, "k0", "ptx", phase="predict"))


def test_nothing_is_changed_by_looking(model):
    before = [np.array(w) for w in model.get_weights()]
    inspection.diff(model, "captured", "memory")
    inspection.kernel(model)
    inspection.why(model, "first", "last")
    assert all((a == b).all() for a, b in zip(before, model.get_weights()))


def test_a_program_goes_on_in_python():
    planned = str(inspection.opt(TEXT).ir)
    assert planned.startswith("program ")
    again = inspection.opt(planned, [])
    assert str(again.ir) == planned and again.milliseconds == ()
