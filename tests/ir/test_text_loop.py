"""Kernels and programs as text: what is printed parses back, to the same kernels and the same text."""
from dataclasses import replace

import pytest

from graphk.ir.loop import Kernel
from graphk.ir.node import Graph
from graphk.ir.program import Program, flat_steps
from graphk.ir.text import ParseError, parse_kernel, parse_program, print_kernel_text, print_program
from graphk.passes.pipeline import run_passes
from tests.programs import graphs, mlp_train


def stages(graph: Graph) -> list[Program]:
    """The program after lower, schedule and memory."""
    return [r.after for r in run_passes(graph, phase=1).records if isinstance(r.after, Program)]


@pytest.mark.parametrize("name, graph", [pytest.param(n, g, id=n) for n, g in graphs()])
def test_round_trip(name, graph):
    for program in stages(graph):
        text = print_program(program)
        back = parse_program(text)
        assert print_program(back) == text
        assert [s.kernel for s in flat_steps(back.steps)] == [s.kernel for s in flat_steps(program.steps)]
        assert [(b.type, b.place, b.offset, b.index, b.base) for b in back.buffers] == [
            (b.type, b.place, b.offset, b.index, b.base) for b in program.buffers]
        for kernel in {s.kernel for s in flat_steps(program.steps)}:
            assert parse_kernel(print_kernel_text(kernel)) == kernel


def test_a_program_is_complete():
    program = stages(mlp_train()[0])[-1]
    back = parse_program(print_program(program))
    assert back.steps == parse_program(print_program(back)).steps
    assert [(s.buffers, s.sizes, s.cost, s.barrier) for s in flat_steps(back.steps)] == [
        (s.buffers, s.sizes, s.cost, s.barrier) for s in flat_steps(program.steps)]
    assert (back.arena, back.dims, back.guards) == (program.arena, program.dims, program.guards)
    assert {b.node.attr("name") for b in back.buffers if b.place == "variable"} >= {"w1", "m_w2", "step"}


@pytest.mark.parametrize("name", ["my model", "größe", "0", "", 'q"uo\\te', "two\nlines", "²", "模型 1", "step"])
def test_odd_names(name):
    """Of programs and kernels: in quotes where they are not one token."""
    program = replace(stages(mlp_train()[0])[-1], name=name)
    program = replace(program, steps=tuple(replace(s, kernel=replace(s.kernel, label=name)) for s in program.steps))
    back = parse_program(print_program(program))
    assert back.name == name and print_program(back) == print_program(program)
    assert [s.kernel for s in back.steps] == [s.kernel for s in program.steps]
    assert {s.kernel.label for s in back.steps} == {name}
    kernel = program.steps[0].kernel
    assert parse_kernel(print_kernel_text(kernel)).label == name
    assert str(program.steps[0]).startswith("step ")


KERNEL = """kernel k(p0: f32 in, p1: f32 out, w: i32 temp[s0]; s0) schedule map(i0, i0) {
  for i0 in s0 {
    acc r0: f32 = max
    r0 <- p0[2*i0+1]
    t0 = select(lt(r0, -inf:f32), cast:float32(index[i0]:i32), -2.5:f32)
    p1[i0] += t0
  }
}
"""


def test_dtypes_follow_from_parameters():
    kernel = parse_kernel(KERNEL)
    assert isinstance(kernel, Kernel) and print_kernel_text(kernel) == KERNEL
    let = kernel.body[0].body[2]
    assert [a.dtype for a in let.expr.args] == ["bool", "float32", "float32"]
    assert kernel.body[0].body[3].accumulate


@pytest.mark.parametrize("old, new, message", [
    ("p0[2*i0+1]", "q[0]", "expected a name defined before this line"),
    ("max\n", "pow\n", "expected one of add, and, max, min, mul, or"),
    ("r0 <-", "t9 <-", "expected an accumulator"),
    ("p1: f32 out", "p1: f32 both", "expected a role"),
    ("-inf:f32", "-inf:i32", "expected a number of dtype int32"),
    ("i0 in s0", "i0 in {", "expected a dimension"),
    ("f32 = max", "f33 = max", "expected one of b1"),
    ("cast:float32(", "cast:float31(", "expected one of bool"),
])
def test_kernel_errors_say_where(old, new, message):
    with pytest.raises(ParseError, match=message) as e:
        parse_kernel(KERNEL.replace(old, new))
    assert e.value.line > 0 and "^" in str(e.value)


PROGRAM = f"""program main(n) arena 0 {{
  buffer %x: f32[2*n+1] input 0
  buffer %y: f32[n] output 0
  buffer %w: i32[n] arena+0
  {KERNEL.rstrip()}
  step k(%x, %y, %w; n) cost 3*n    # layer relu_1, train.py:7
  guard n == 4
}}
"""


@pytest.mark.parametrize("old, new, message", [
    ("step k(", "step j(", "expected a kernel"),
    ("(%x, %y, %w; n)", "(%x, %y, %z; n)", "expected a buffer"),
    ("arena+0\n", "nowhere\n", "expected one of input, output"),
    ("%y: f32[n] output 0", "%x: f32[n] output 0", "expected a buffer's name that is not yet defined"),
    ("guard n == 4", "guard n = 4", "expected `==`"),
])
def test_program_errors_say_where(old, new, message):
    assert parse_program(PROGRAM).steps[0].origin == "layer relu_1, train.py:7"
    with pytest.raises(ParseError, match=message):
        parse_program(PROGRAM.replace(old, new))
