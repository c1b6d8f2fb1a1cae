"""Passes as text: graphs before and after, in `*.gk` files (`pytest --update-golden` writes what comes after).

In: a file of cases, `== name`, the graph before, `-->` and what the pass makes of it.  What always holds: the text
before is written by hand; every rewrite rule has exactly one case; what a rule makes computes the same.
"""
import re
from pathlib import Path

import numpy as np
import pytest

from graphk.ir.interp import run_graph
from graphk.ir.node import Graph
from graphk.ir.program import flat_steps
from graphk.ir.text import parse_graph, print_graph, print_program
from graphk.passes import simplify
from graphk.passes.match import RuleSet, rewrite_fixpoint
from graphk.passes.pipeline import run_passes
from tests.programs import mlp_train, values_for

HERE = Path(__file__).parent
DIMS = {"n": 3, "m": 2}


def cases(file: str) -> dict[str, str]:
    """The graphs of a file, by name."""
    parts = re.split(r"^== (.*)\n", (HERE / file).read_text(), flags=re.M)
    return {name: body.split("-->\n")[0].strip() + "\n" for name, body in zip(parts[1::2], parts[2::2])}


def rendered(file: str, after) -> str:
    """The whole file, with `after(name, graph)` behind each graph."""
    head = re.split(r"^== ", (HERE / file).read_text(), flags=re.M)[0]
    return head + "\n".join(f"== {name}\n{text}-->\n{after(name, parse_graph(text))}"
                            for name, text in cases(file).items())


# ------------------------------------------------------------------ simplify
RULES = {r.name: r for r in simplify.RULES}


def by_one_rule(name: str, graph: Graph) -> Graph:
    """What a rule does by itself."""
    if name == "fold":
        return rewrite_fixpoint(graph, simplify._fold)
    if name == "drop-broadcast":
        return rewrite_fixpoint(graph, simplify._drop_broadcasts)
    return rewrite_fixpoint(graph, RuleSet([RULES[name]]).apply)


def test_every_rule_has_a_case():
    assert set(cases("simplify.gk")) == {*RULES, "fold", "drop-broadcast"}


def test_simplify_golden(golden):
    golden("simplify.gk", rendered("simplify.gk", lambda name, g: print_graph(by_one_rule(name, g), origins=False)))


@pytest.mark.parametrize("name", cases("simplify.gk"))
def test_rule(name):
    """The rule fires, keeps the type and the value, and the whole pass does, too."""
    before = parse_graph(cases("simplify.gk")[name])
    after = by_one_rule(name, before)
    assert print_graph(after, False) != print_graph(before, False), "the rule did not match"
    assert [o.type for o in after.outputs] == [o.type for o in before.outputs]
    arrays = values_for([i.t for i in before.inputs], DIMS)
    arrays = [np.abs(a) + np.asarray(0.5, a.dtype) if a.dtype.kind == "f" else a for a in arrays]
    for other in (after, simplify.simplify(before), simplify.simplify(before, composites=False)):
        for a, b in zip(run_graph(before, arrays), run_graph(other, arrays)):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------ fuse
def fused(graph: Graph) -> str:
    """The groups, each with the kernel it becomes, and every refusal with its reason."""
    result = run_passes(graph)
    after = next(r.after for r in result.records if r.name == "fuse")
    kernels = "\n".join(str(k) for k in dict.fromkeys(s.kernel for s in flat_steps(result.program.steps)))
    refused = sorted({f"# {n.producer} | {n.consumer}: {n.reason}" for n in result.notes if not n.fused})
    return "\n".join([print_graph(after, origins=False) + kernels, *refused]) + "\n"


def test_fuse_golden(golden):
    golden("fuse.gk", rendered("fuse.gk", lambda name, g: fused(g)))


def kernels_of(name: str) -> list[tuple[str, str]]:
    """(label, schedule) of each step."""
    program = run_passes(parse_graph(cases("fuse.gk")[name])).program
    return [(s.kernel.label, str(s.kernel.schedule).split("(")[0]) for s in flat_steps(program.steps)]


@pytest.mark.parametrize("name, schedules", [
    ("chain", ["map"]),
    ("softmax and cross-entropy, forward and backward", ["rows"]),
    ("batch statistics", ["columns"]),
    ("dense, bias, relu and dropout", ["tile"]),
    ("optimizer in the epilogue of a gradient", ["tile"]),
    ("two products", ["tile", "tile"]),
    ("operands scaled while they are packed", ["tile"]),
    ("a sum that all elements wait for", ["chunks", "map"]),
    ("a transposed operand", ["map", "map"]),
    ("a row value in a longer loop", ["map", "map"]),
    ("what a gradient needs, computed again", ["tile", "tile", "tile"]),
])
def test_what_becomes_one_kernel(name, schedules):
    assert [kind for _, kind in kernels_of(name)] == schedules


def test_what_is_computed_again_is_not_stored():
    """The product and the first result are, tanh between them is not."""
    program = run_passes(parse_graph(cases("fuse.gk")["what a gradient needs, computed again"])).program
    stored = [sum(p.role == "out" for p in s.kernel.params) for s in flat_steps(program.steps)]
    assert stored == [2, 1, 1]


@pytest.mark.parametrize("count", [2, 20])
def test_a_long_way_is_not_taken_twice(count):
    """Twenty operations to a value of which two kernels need the result: it is stored."""
    chain = "".join(f"  %a{i + 1} = sin(%a{i})\n" for i in range(count))
    graph = parse_graph(f"""graph g(%x: f32[n,4], %w: f32[4,5], %v: f32[5,6]) {{
  %a0 = dot(%x, %w; contract=((1,), (0,)), batch=((), ()))
{chain}  %b = mul(%a0, %a{count})
  %c = dot(%b, %v; contract=((1,), (0,)), batch=((), ()))
  %d = dot(%c, %v; contract=((1,), (1,)), batch=((), ()))
  %e = mul(%d, %a{count})
  %f = mul(%e, %a0)
  return %f
}}
""")
    first, *_ = flat_steps(run_passes(graph).program.steps)
    assert sum(p.role == "out" for p in first.kernel.params) == (2 if count == 2 else 3)


def test_every_fusion_case_is_named():
    mark = next(m for m in test_what_becomes_one_kernel.pytestmark if m.name == "parametrize")
    assert set(cases("fuse.gk")) == {name for name, _ in mark.args[1]}


# ------------------------------------------------------------------ lower, schedule, memory
def test_train_step_golden(golden):
    result = run_passes(mlp_train()[0], phase=1)
    out = []
    for name in ("lower", "schedule", "memory"):
        text = print_program(next(r.after for r in result.records if r.name == name))
        out.append(f"== {name}\n" + re.sub(r" +# .*", "", text))
    golden("train_step.gk", "\n".join(out))
