"""Kernels as text that a library must not take for a product or convolution that they are not, and some that it may.

In: kernels that no op gives today.  The oracle is the simulated GPU without libraries, which runs the same text.
"""
import numpy as np
import pytest

from graphk.ir.parse_loop import parse_program
from graphk.passes.pipeline import Result
from graphk.runtime import library_match
from graphk.runtime.device_sim import SimDevice
from graphk.runtime.gpu import GpuExecutable
from graphk.runtime.library import Convolution, Product
from graphk.runtime.library_sim import NumpyLibrary
from graphk.runtime.library_steps import narrow_buffers
from tests.gpu.conftest import SIMULATED

pytestmark = pytest.mark.skipif(not SIMULATED, reason="reads the simulator's books")

# (m, n, k) = (3, 5, 4) and a batch of 2: the index of the left operand, of the right one, and what is done with a sum
NEST = """
program main() arena 0 {{
  buffer %x: f32[200] input 0
  buffer %w: f32[200] input 1
  buffer %b: f32[200] input 2
  buffer %c: f32[200] input 3
  buffer %y: f32[{size}] output 0
  kernel k(p0: f32 in, p1: f32 in, p2: f32 in, p3: f32 in, p4: f32 out; s0, s1, s2, s3) schedule tile(i0, i1, i2) {{
    for b in s3 {{
      for i0 in s0 {{
        for i1 in s1 {{
          acc r0: f32 = add
          for i2 in s2 {{
            t0 = p0[{left}]
            t1 = p1[{right}]
            r0 <- mul(t0, t1)
          }}
          {end}
        }}
      }}
    }}
  }}
  step k(%x, %w, %b, %c, %y; 3, 5, 4, {batch})
}}
"""
LEFT, RIGHT, OUT = "b*12+i0*4+i2", "b*20+i2*5+i1", "b*15+i0*5+i1"
STORE = "p4[b*15+i0*5+i1] = "


def run(text, monkeypatch, size):
    """What a library is asked for, after its results were compared with those of graphk's own kernels."""
    monkeypatch.setattr(library_match, "LONG", 1)
    result = Result(parse_program(text))
    count = sum(b.place == "input" for b in result.program.buffers)
    arrays = [np.random.default_rng(i).standard_normal(200).astype("f") for i in range(count)]
    want, = GpuExecutable(result, {}, SimDevice())(arrays)
    device = SimDevice()
    device.libraries = dict.fromkeys((Product, Convolution), NumpyLibrary(device.view))
    exe = GpuExecutable(result, {}, device)
    got, = exe(arrays)
    np.testing.assert_allclose(got[:size], want[:size], rtol=1e-5, atol=1e-5)
    found = [exe.calls.find(s, {}) for s in exe.calls._contractions()]
    return found[0] if isinstance(found[0], str) else found[0].match


def nest(monkeypatch, left=LEFT, right=RIGHT, end=STORE + "r0", batch=2, size=30):
    return run(NEST.format(left=left, right=right, end=end.replace("; ", "\n          "), batch=batch, size=size),
               monkeypatch, size)


@pytest.mark.parametrize("end, bias, added", [
    ("t2 = p2[i1]; t3 = add(r0, t2); " + STORE + "t3", True, False),
    ("t2 = p2[b*15+i0*5+i1]; t3 = add(r0, t2); " + STORE + "t3", False, True),
    ("t2 = p2[i1]; t3 = p3[b*30+i0*6+i1]; t4 = add(r0, t2); t5 = add(t3, t4); " + STORE + "t5", True, True),
    # none is a bias: another one for each member, two of them, every other number, one for each row, one for all
    ("t2 = p2[b*5+i1]; t3 = add(r0, t2); " + STORE + "t3", False, False),
    ("t2 = p2[i1]; t3 = p3[i1]; t4 = add(r0, t2); t5 = add(t3, t4); " + STORE + "t5", False, False),
    ("t2 = p2[2*i1]; t3 = add(r0, t2); " + STORE + "t3", False, False),
    ("t2 = p2[i0]; t3 = add(r0, t2); " + STORE + "t3", False, False),
    ("t2 = p2[3]; t3 = add(r0, t2); " + STORE + "t3", False, False),
    # nor are these sums of one product: twice, subtracted, squared
    ("t2 = add(r0, r0); " + STORE + "t2", False, False),
    ("t2 = p2[i1]; t3 = sub(r0, t2); " + STORE + "t3", False, False),
    ("t2 = max(r0, 1.0:f32); " + STORE + "t2", False, False),
    ("t2 = max(r0, 0.0:f32); t3 = p2[i1]; t4 = add(t2, t3); " + STORE + "t4", False, False),
    # a result that does not lie in rows
    ("p4[b*15+i1*3+i0] = r0", False, False),
    ("p4[b*30+i0*10+2*i1] = r0", False, False)])
def test_what_is_done_with_a_result(end, bias, added, monkeypatch):
    size = 60 if "b*30+i0*10" in end else 30
    if size == 60:                                    # what lies between the results stays what it was
        end = end + "; p4[b*30+i0*10+2*i1+1] = 0.0:f32"
    found = nest(monkeypatch, end=end, size=size)
    assert (found.ask.bias, found.ask.added is not None) == (bias, added)
    assert (found.epilogue is None) == (bias or added)


@pytest.mark.parametrize("left, right, packs", [
    (LEFT, RIGHT, 0), ("b*12+i2*3+i0", "b*20+i1*4+i2", 0), ("i0*4+i2", "i2*5+i1", None),
    ("b*40+i0*9+i2", RIGHT, 0),                       # gaps between rows
    ("b*40+i0*9+2*i2", RIGHT, 1), ("b*48+i0*3+i2*12", RIGHT, 1), ("b+i0*8+i2*2", RIGHT, 1),
    ("b*12+i0*4+i2", "i2*5+i1", 0)])
def test_how_operands_lie(left, right, packs, monkeypatch):
    found = nest(monkeypatch, left, right)
    if packs is None:
        assert "a result stands in several places" in found
    else:
        assert len(found.packs) == packs and found.epilogue is None


@pytest.mark.parametrize("left, why", [
    ("b*12+i0*4", "the same for several contracted places"),
    ("b*12+i0+i2", "windows that share elements"),    # a convolution of one row, but several in one
    ("b*12+i0*i0+i2", "not linear"), ("b*12+i0*i2+i2+i0", "not linear"), ("b*12+max(i0, 1)*4+i2", "not linear")])
def test_what_is_no_product(left, why, monkeypatch):
    found = nest(monkeypatch, left)
    assert isinstance(found, str) and why in found


def test_a_sum_whose_length_differs_is_no_product():
    text = NEST.format(left=LEFT, right=RIGHT, end=STORE + "r0", batch=2, size=30).replace("i2 in s2", "i2 in i0+1")
    kernel = parse_program(text).steps[0].kernel
    assert library_match.nest_of(kernel) is None


def test_memory_of_a_call_is_aligned(monkeypatch):
    """As the fastest algorithms want it, whatever lies before it."""
    seen = []
    monkeypatch.setattr(NumpyLibrary, "ask", lambda self, what, at: seen.append(at) or (lambda stream, lane: None))
    monkeypatch.setattr(library_match, "LONG", 1)
    device = SimDevice()
    device.libraries = {Product: NumpyLibrary(device.view)}
    text = NEST.format(left="b+i0*8+i2*2", right="b*20+i2*5+i1", end=STORE + "neg(r0)", batch=2, size=30)
    GpuExecutable(Result(parse_program(text)), {}, device)._recording({}, ())
    assert seen and all(at.left % 256 == at.out % 256 == 0 for at in seen)


def test_a_result_over_what_is_added_to_it(monkeypatch):
    """In another layout the library would read what it has written."""
    said = []
    monkeypatch.setattr("graphk.runtime.library_steps.tell", said.append)
    text = NEST.format(left="i0*4+i2", right="i2*5+i1", end="t2 = p3[i0*7+i1]\n t3 = add(r0, t2)\n p4[i0*5+i1] = t3",
                       batch=1, size=200).replace("step k(%x, %w, %b, %c, %y", "step k(%x, %w, %b, %y, %y")
    monkeypatch.setattr(library_match, "LONG", 1)
    device = SimDevice()
    device.libraries = {Product: NumpyLibrary(device.view)}
    GpuExecutable(Result(parse_program(text)), {}, device)._recording({}, ())
    assert [p.plain for p in device.libraries[Product].asked] == [True] * len(device.libraries[Product].asked) != []
    assert said[-1].endswith("the result overwrites what is added to it, in another order")


# (places, window, channels, filters) = (4, 3, 2, 5) of rows of 6, a batch of 2
WINDOWS = """
program main() arena 0 {{
  buffer %x: f32[200] input 0
  buffer %w: f32[200] input 1
  buffer %y: f32[40] output 0
  kernel k(p0: f32 in, p1: f32 in, p2: f32 out; s0, s1, s2, s3, s4) schedule tile(i1, i2, i4) {{
    for i0 in s0 {{
      for i1 in s1 {{
        for i2 in s2 {{
          acc r0: f32 = add
          for i3 in s3 {{
            for i4 in s4 {{
              t0 = p0[{image}]
              t1 = p1[i3*10+i4*5+i2]
              r0 <- mul(t0, t1)
            }}
          }}
          p2[{out}] = r0
        }}
      }}
    }}
  }}
  step k(%x, %w, %y; 2, 4, 5, 3, 2)
}}
"""


@pytest.mark.parametrize("image, out, direct", [
    ("i0*12+i1*2+i3*2+i4", "i0*20+i1*5+i2", True), ("i0*12+i1+i3+i4*6", "i0*20+i2*4+i1", True),
    ("i0*12+i1*2+i3*2+i4", "i1*10+i0*5+i2", True), ("i0*2+i1*4+i3*4+i4", "i0*20+i1*5+i2", True)])
def test_convolutions_as_text(image, out, direct, monkeypatch):
    found = run(WINDOWS.format(image=image, out=out), monkeypatch, 40)
    assert isinstance(found.ask, Convolution) and not found.ask.gradient
    assert (found.epilogue is None) == direct and found.ask.x.extents[:2] == (2, 2)


@pytest.mark.parametrize("out, direct", [("j*60+i0*20+i1*5+i2", True), ("i0*60+j*20+i1*5+i2", False)])
def test_images_in_another_order_than_results(out, direct, monkeypatch):
    """Two axes of images are one for the operand; where they are not for the result, a kernel moves it."""
    text = WINDOWS.format(image="j*36+i0*12+i1*2+i3*2+i4", out=out)
    for old, new in (("    for i0 in s0 {\n", "    for j in s5 {\n    for i0 in s0 {\n"),
                     ("s4) schedule", "s4, s5) schedule"), ("40]", "180]"),
                     ("    }\n  }\n  step", "    }\n    }\n  }\n  step"),
                     ("%y; 2, 4, 5, 3, 2)", "%y; 3, 4, 5, 3, 2, 3)")):
        assert old in text
        text = text.replace(old, new)
    found = run(text, monkeypatch, 180)
    assert found.ask.x.extents[0] == 9 and (found.epilogue is None) == direct


@pytest.mark.parametrize("image", ["i0*12+i1*2+i3*i3+i4", "i0*3+i1*2+i3*2+i4", "i0*12+i1+i3+i4"])
def test_what_is_no_convolution(image, monkeypatch):
    """An index that is not linear; images that share elements with each other, or channels with places."""
    found = run(WINDOWS.format(image=image, out="i0*20+i1*5+i2"), monkeypatch, 40)
    assert isinstance(found, str) and ("not linear" in found or "no operand is windows of an image" in found)


# ------------------------------------------------------------------ rounded numbers
ROUNDED = """
program main() arena 1024 {{
  buffer %x: f32[8] input 0
  buffer %a: f32[8] arena+0
  buffer %b: f32[8] arena+64
  buffer %y: f32[8] output 0
  kernel one(p0: f32 in, p1: f32 out; s0) schedule map(i0, i0) {{
    for i0 in s0 {{
      t0 = p0[i0]
      t1 = {first}
      p1[i0] = t1
    }}
  }}
  kernel two(p0: f32 in, p1: f32 out; s0) schedule map(i0, i0) {{
    for i0 in s0 {{
      t0 = p0[i0]
      p1[i0] = {second}
    }}
  }}
  step one(%x, %a; 8)
  barrier; step two(%a, %b; 8)
  {third}
  barrier; step two(%b, %y; 8)
}}
"""


@pytest.mark.parametrize("first, second, third, want", [
    ("round_bf16(t0)", "t0", "", {"a": "bfloat16", "b": "bfloat16"}),
    ("round_bf16(t0)", "0.0:f32", "", {"a": "bfloat16"}),
    ("round_bf16(t0)", "t0", "barrier; step one(%x, %b; 8)", {"a": "bfloat16", "b": "bfloat16"}),
    ("round_bf16(t0)", "t0", "barrier; step two(%x, %b; 8)", {"a": "bfloat16"}),
    ("round_bf16(t0)", "0.1:f32", "barrier; step one(%x, %b; 8)", {"a": "bfloat16"}),
    ("round_bf16(t0)", "0.0:f32", "barrier; step one(%x, %b; 8)", {"a": "bfloat16", "b": "bfloat16"}),
    ("round_bf16(t0)", "neg(t0)", "", {"a": "bfloat16"}), ("neg(t0)", "t0", "", {}),
    ("cast:float32(cast:float16(t0))", "t0", "", {"a": "float16", "b": "float16"})])
def test_buffers_of_rounded_numbers(first, second, third, want):
    text = ROUNDED.format(first=first, second=second, third=third)
    assert narrow_buffers(parse_program(text)) == want


def test_adding_to_a_buffer_rounds_nothing():
    text = ROUNDED.format(first="round_bf16(t0)", second="t0", third="").replace("p1[i0] = t0", "p1[i0] += t0")
    assert narrow_buffers(parse_program(text)) == {"a": "bfloat16"}


# ------------------------------------------------------------------ zeros around an image
# The same windows with a zero before and after each row of 6: 4 rows, (places, window) = (6, 3)
AROUND = """
program main() arena 0 {{
  buffer %x: f32[200] input 0
  buffer %w: f32[200] input 1
  buffer %y: f32[60] output 0
  kernel k(p0: f32 in, p1: f32 in, p2: f32 out; s0, s1, s2, s3, s4, s5) schedule tile(i1, i2, i4) {{
    for i0 in s0 {{
      for i1 in s1 {{
        for i2 in s2 {{
          acc r0: f32 = add
          for i3 in s3 {{
            for i4 in s4 {{
              t0 = index[{at}]:i64
              t1 = {near}
              t2 = p0[i0*12+t1*2+i4]
              t3 = {read}
              t4 = p1[i3*10+i4*5+i2]
              r0 <- mul(t3, t4)
            }}
          }}
          p2[i0*30+i1*5+i2] = r0
        }}
      }}
    }}
  }}
  step k(%x, %w, %y; 2, 6, 5, 3, 2, 5)
}}
"""
AT, NEAR, READ = "i1+i3-1", "max(min(t0, index[s5]:i64), 0:i64)", "select(eq(t0, t1), t2, 0.0:f32)"


def around(monkeypatch, at=AT, near=NEAR, read=READ):
    return run(AROUND.format(at=at, near=near, read=read), monkeypatch, 60)


def test_zeros_around_an_image_as_text(monkeypatch):
    found = around(monkeypatch)
    assert found.ask.paddings == ((1, 1), (0, 0)) and not any(p.image for p in found.packs)
    assert found.ask.x.extents == (2, 2, 6, 1)


@pytest.mark.parametrize("changed", [
    {"read": "select(eq(t0, t1), t2, 1.0:f32)"},                # ones around it
    {"read": "select(ne(t0, t1), t2, 0.0:f32)"}, {"read": "select(eq(t0, t1), 0.0:f32, t2)"},
    {"read": "t2"},                                             # the edge goes on
    {"near": "max(min(t0, index[s5]:i64), 1:i64)"}, {"near": "min(max(t0, 0:i64), index[s5]:i64)"},
    {"near": "max(min(index[i1]:i64, index[s5]:i64), 0:i64)"},  # of another place
    {"at": "i1*i3-1"}])
def test_what_is_no_image_with_zeros_around_it(changed, monkeypatch):
    assert isinstance(around(monkeypatch, **changed), str)


def test_places_that_no_window_reaches_are_none_of_a_librarys(monkeypatch):
    """Before the image, beyond what windows see behind it, and a place that moves with the batch."""
    assert around(monkeypatch, at="i1+i3-2").ask.paddings == ((2, 0), (0, 0))
    assert isinstance(around(monkeypatch, at="i1+i3+1"), str) and isinstance(around(monkeypatch, at="i0+i1+i3-1"), str)
