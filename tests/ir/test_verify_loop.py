"""The verifiers of Kernel and Program: each rule broken once, and what the message says."""
from dataclasses import replace

import pytest

from graphk.codegen.scalars import DTYPES, TABLE
from graphk.ir.loop import Acc, Call, Kernel, Lit, Ref, Store, Update
from graphk.ir.program import LoopStep, Program, flat_steps
from graphk.ir.scalar_rules import NAMES, result_dtype
from graphk.ir.text import parse_kernel, parse_program
from graphk.ir.verify import VerifyError, verify_kernel, verify_program
from graphk.ir.verify_kernel import KERNEL_RULES
from graphk.ir.verify_program import PLANNED_RULES, PROGRAM_RULES
from graphk.passes.pipeline import run_passes
from tests.programs import mlp_train, scan_graph, swap_graph

KERNEL = """kernel k(p0: f32 in, p1: i32 in, p2: f32 out, w: f32 temp[s0]; s0, s1) schedule chunks(i0, i1) {
  for i0 in s0 {
    acc r0: f32 = max
    t0 = p1[i0]
    for i1 in s1 {
      t1 = p0[s1*t0+i1]
      r0 <- add(t1, 1.0:f32)
    }
    w[i0] = r0
  }
  for z in 1 {
    acc r1: f32 = add
    for d in s0 {
      r1 <- w[d]
    }
    p2[0] = select(lt(r1, 0.0:f32), index[z]:f32, r1)
  }
}"""


def edit(old: str, new: str) -> Kernel:
    assert old in KERNEL
    return parse_kernel(KERNEL.replace(old, new))


def with_first(statement) -> Kernel:
    """The kernel with a statement put first into its first loop."""
    kernel = parse_kernel(KERNEL)
    return replace(kernel, body=(replace(kernel.body[0], body=(statement, *kernel.body[0].body)), *kernel.body[1:]))


def called(words: str) -> Kernel:
    """An LSTM's call, with other words."""
    ins, outs = (", ".join(f"{p}{i}: f32 {role}" for i in range(n)) for p, role, n in (("p", "in", 4), ("q", "out", 3)))
    return parse_kernel(f"kernel k({ins}, {outs}; s0, s1, s2, s3) schedule library({words}) {{ }}")


def test_the_sound_kernel_is_sound():
    verify_kernel(parse_kernel(KERNEL), "lower")
    verify_kernel(called("lstm, one, forward"), "lower")


BROKEN_KERNELS = {
    "a name used before": ("names", with_first(Store("w", 0, Ref("t9", "float32"))), "`t9` is used where it is not"),
    "a name twice": ("names", edit("t0 = p1[i0]\n", "t0 = p1[i0]\n t0 = p1[0]\n"), "`t0` is defined again"),
    "an axis twice": ("names", edit("for i1 in s1", "for i0 in s1"), "`i0` is defined again"),
    "a parameter twice": ("names", edit("; s0, s1)", "; s0, s0)"), "`s0` is declared twice"),
    "a name out of its loop": ("names", replace(
        parse_kernel(KERNEL), body=(*parse_kernel(KERNEL).body, Store("p2", 0, Ref("r0", "float32")))), "`r0` is used"),
    "arity": ("dtypes", with_first(Store("w", 0, Call("exp", (Lit(1.0, "float32"),) * 2, "float32"))), "`exp` takes 1"),
    "operands": ("dtypes", edit("add(t1, 1.0:f32)", "add(t1, 1:i32)"), "received (float32, int32)"),
    "an unknown function": ("dtypes", edit("add(t1, 1.0:f32)", "plus(t1, 1.0:f32)"), "no scalar function is called"),
    "a result": ("dtypes", with_first(Store("w", 0, Call("exp", (Lit(1.0, "float32"),), "int32"))), "gives float32"),
    "a literal": ("dtypes", with_first(Store("w", 0, Lit(1, "float32"))), "the int 1 is typed float32"),
    "a stored dtype": ("dtypes", with_first(Store("w", 0, Lit(1, "int32"))), "`w` holds float32"),
    "an update's dtype": ("dtypes", edit("r0 <- add(t1, 1.0:f32)", "r0 <- t0"), "the accumulator `r0` is float32"),
    "a load from an output": ("loads", edit("t1 = p0[s1*t0+i1]", "t1 = p2[s1*t0+i1]"), "it is no input"),
    "a private buffer too early": ("loads", edit("t1 = p0[s1*t0+i1]", "t1 = w[i0]"), "before an earlier phase"),
    "a store to an input": ("stores", edit("p2[0] =", "p0[0] ="), "`p0` is stored to"),
    "a let behind a store": ("stores", edit("w[i0] = r0\n", "w[i0] = r0\n t5 = p1[i0]\n"), "behind a store"),
    "an index out of scope": ("indices", edit("w[i0] = r0", "w[i1] = r0"), "speaks of `i1`"),
    "a float in an index": ("indices", edit("w[i0] = r0", "w[r0] = r0"), "speaks of `r0`"),
    "an extent": ("indices", edit("for d in s0", "for d in s9"), "speaks of `s9`"),
    "a private buffer's size": ("indices", edit("temp[s0]", "temp[i0]"), "no sizes of the kernel"),
    "an update of nothing": ("updates", with_first(Update("r5", Lit(1.0, "float32"))), "no accumulator"),
    "a combination": ("updates", with_first(Acc("r5", "sub", "float32")), "combines by 'sub'"),
    "a schedule's axis": ("schedule", edit("chunks(i0, i1)", "chunks(i0, i7)"), "speaks of `i7`"),
    "a library's loops": ("schedule", edit("chunks(i0, i1)", "library(lstm, one, forward)"), "computes no loops"),
    "a library's words": ("schedule", called("lstm, three, forward"),
                          "no schedule library(lstm, three, forward); a library's speaks of lstm or gru"),
    "a library's operands": ("schedule", called("gru, two, gradient"),
                             "takes 7 inputs, 3 outputs and 4 sizes; the kernel has in, in, in, in, out"),
    "a schedule": ("schedule", edit("chunks(i0, i1)", "spiral(i0, i1)"), "there is no schedule spiral"),
}


@pytest.mark.parametrize("rule, kernel, message", BROKEN_KERNELS.values(), ids=BROKEN_KERNELS)
def test_kernel_rules(rule, kernel, message):
    with pytest.raises(VerifyError) as e:
        verify_kernel(kernel, "lower", "layer dense_1, train.py:12")
    assert e.value.rule == rule and message in str(e.value)
    for part in ("kernel `k`", "after lower", "layer dense_1, train.py:12", "error in the pass `lower`"):
        assert part in str(e.value)


def test_every_kernel_rule_is_broken_once():
    assert {rule for rule, _, _ in BROKEN_KERNELS.values()} == set(KERNEL_RULES)


# ------------------------------------------------------------------ programs
COPY = """kernel copy(p0: f32 in, p1: f32 out; s0) schedule map(i0, i0) {
    for i0 in s0 {
      t0 = p0[i0]
      p1[i0] = t0
    }
  }"""
PROGRAM = f"""program main(n) arena 256*n {{
  buffer %x: f32[n] input 0
  buffer %v: f32[n] variable "v"
  buffer %a: f32[n] arena+0
  buffer %b: f32[n] arena+128*n
  buffer %r: f32[n,1] alias %a
  buffer %y: f32[n] output 0
  {COPY}
  step copy(%x, %a; n)    # layer dense_1, train.py:12
  barrier; step copy(%r, %b; n)
  barrier; step copy(%b, %y; n)
  step copy(%b, %v; n)
}}"""
LOOP = f"""program main(n) arena 0 {{
  buffer %x: f32[5,n] input 0
  buffer %w: f32[n] alias %x
  buffer %y: f32[5,n] output 0
  buffer %u: f32[n] alias %y
  {COPY}
  loop 5 (%w of %x by 4*n, %u of %y by 4*n) {{
    step copy(%w, %u; n)
  }}
}}"""
ROWS = LOOP.replace("loop 5", "loop 5 rows n")


def change(old: str, new: str, text: str = PROGRAM) -> Program:
    assert old in text
    return parse_program(text.replace(old, new))


def without_buffer(name: str) -> Program:
    program = parse_program(PROGRAM)
    return replace(program, buffers=tuple(b for b in program.buffers if b.name != name))


BROKEN_PROGRAMS = {
    "a view of nothing": ("buffers_sound", change("alias %a", "alias %q"), "leads to no storage"),
    "a view of itself": ("buffers_sound", change("alias %a", "alias %r"), "leads to no storage"),
    "a view too large": ("buffers_sound", change("%r: f32[n,1]", "%r: f32[n,2]"), "8*n bytes"),
    "a view of another dtype": ("buffers_sound", change("%r: f32[n,1]", "%r: i32[n,1]"), "as int32"),
    "output numbers": ("ends_indexed", change("output 0", "output 1"), "outputs are numbered [1]"),
    "an unbound dim": ("dims_bound", change("main(n)", "main(n, m)"), "nothing gives `m` a value"),
    "a dim that is not declared": ("dims_bound", change("copy(%x, %a; n)", "copy(%x, %a; k)"), "speaks of `k`"),
    "a missing argument": ("steps_fit", change("copy(%x, %a; n)", "copy(%x; n)"), "passes 1 buffers"),
    "a missing size": ("steps_fit", change("copy(%x, %a; n)", "copy(%x, %a; )"), "passes 0 sizes"),
    "a wrong dtype": ("steps_fit", change("%v: f32[n]", "%v: f64[n]"), "`v` of dtype float64 for `p1`"),
    "no such buffer": ("steps_fit", without_buffer("y"), "`y`, which is no buffer"),
    "windows too far apart": ("loops_fit", change("(%w of %x by 4*n", "(%w of %x by 8*n", LOOP), "do not fit `x`"),
    "a loop too long": ("loops_fit", change("loop 5", "loop 6", LOOP), "6 windows"),
    "rows of another dim": ("rows_apart", change("loop 5", "loop 5 rows 7", LOOP), "`7` is no dim"),
    "rows that meet": ("rows_apart", change("p0[i0]", "p0[0]", ROWS), "leaves its row"),
    "read before written": ("written_before_read", change("step copy(%x, %a; n)", "step copy(%x, %v; n)"), "reads `a`"),
    "an output not written": ("written_before_read", change("copy(%b, %y; n)", "copy(%b, %v; n)"), "no step writes"),
    "an input written": ("callers_arrays_kept", change("step copy(%b, %v; n)", "step copy(%b, %x; n)"), "belongs to"),
    "a variable read too late": ("callers_arrays_kept", change("barrier; step copy(%b, %y; n)\n  step copy(%b, %v; n)",
                                 "step copy(%b, %v; n) barrier; step copy(%v, %y; n)"), "after the update"),
    "bytes shared": ("bytes_apart", change("arena+128*n", "arena+0"), "share bytes of the arena"),
    "outside the arena": ("bytes_apart", change("arena 256*n", "arena 64*n"), "leave the arena"),
    "not aligned": ("bytes_apart", change("arena+128*n", "arena+130*n"), "not aligned to 64"),
    "no barrier": ("barriers_set", change("barrier; step copy(%b, %y", "step copy(%b, %y"), "needs a barrier: `b`"),
}


@pytest.mark.parametrize("rule, program, message", BROKEN_PROGRAMS.values(), ids=BROKEN_PROGRAMS)
def test_program_rules(rule, program, message):
    verify_program(parse_program(PROGRAM))
    verify_program(parse_program(LOOP))
    verify_program(parse_program(ROWS))
    if rule == "bytes_apart" and message.startswith("share"):       # both are needed by the second step
        program = replace(program, steps=(*program.steps, replace(program.steps[1], barrier=True)))
    with pytest.raises(VerifyError) as e:
        verify_program(program, "memory")
    assert e.value.rule == rule and message in str(e.value)
    assert "the program `main` is not valid after memory" in str(e.value) and "pass `memory`" in str(e.value)


def test_every_program_rule_is_broken_once():
    assert {rule for rule, _, _ in BROKEN_PROGRAMS.values()} == {r.__name__ for r in (*PROGRAM_RULES, *PLANNED_RULES)}


def test_messages_name_layer_and_line():
    with pytest.raises(VerifyError, match="from: layer dense_1, train.py:12"):
        verify_program(change("copy(%x, %a; n)", "copy(%x; n)"), "memory")


def test_a_kernel_is_named_with_its_step():
    program = parse_program(PROGRAM.replace("t0 = p0[i0]", "t0 = p0[i5]"))
    with pytest.raises(VerifyError, match="(?s)the kernel `copy`.*from: layer dense_1, train.py:12"):
        verify_program(program)


# ------------------------------------------------------------------ mutations of real programs
@pytest.mark.parametrize("graph", [mlp_train()[0], scan_graph(True), swap_graph()], ids=lambda g: g.name)
def test_a_real_program_needs_each_of_its_barriers(graph):
    program = run_passes(graph, phase=1).program
    at = [i for i, s in enumerate(program.steps) if s.barrier]
    assert at
    for i in at:
        if isinstance(program.steps[i], LoopStep):
            continue                               # a loop always waits, needed or not
        steps = list(program.steps)
        steps[i] = replace(steps[i], barrier=False)
        with pytest.raises(VerifyError, match="needs a barrier"):
            verify_program(replace(program, steps=tuple(steps)), "memory")


def test_a_real_arena_cannot_be_all_one_place():
    program = run_passes(mlp_train()[0], phase=1).program
    assert sum(b.place == "arena" for b in program.buffers) > 2 and len(flat_steps(program.steps)) > 3
    buffers = tuple(replace(b, offset=0) if b.place == "arena" else b for b in program.buffers)
    with pytest.raises(VerifyError, match="share bytes"):
        verify_program(replace(program, buffers=buffers), "memory")


# ------------------------------------------------------------------ the specification of scalar functions
def test_the_specification_is_the_table():
    assert NAMES == set(TABLE)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_rules_agree_with_the_table(name):
    def outcome(fn, dtypes):
        try:
            return fn(dtypes)
        except TypeError:
            return "refused"
    arity = TABLE[name].arity
    mixes = [(d,) * n for d in DTYPES for n in (1, 2, 3)] + [("bool", d, d) for d in DTYPES] + [
        ("float32", "int32"), ("bool", "float32", "int32"), ("uint32", "uint32", "int32"), ("int8",) * arity]
    for dtypes in mixes:
        assert outcome(lambda d: result_dtype(name, d), dtypes) == outcome(TABLE[name].result, dtypes), dtypes
