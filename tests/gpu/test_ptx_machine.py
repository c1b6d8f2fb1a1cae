"""The machine that runs PTX: each instruction against exact arithmetic, and the errors that it must raise."""
from fractions import Fraction

import numpy as np
import pytest

from tests.gpu.ptx_code import PtxFault
from tests.gpu.ptx_machine import LaunchError, Program
from tests.gpu.ptx_ops import TYPES, rule_of
from tests.gpu.ptx_text import PtxError

SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 3.0, 1e-38, 1e-45, -1e-45, 3e38, -3e38, np.inf, -np.inf, np.nan]
f32, f64 = np.float32, np.float64


@pytest.fixture(autouse=True)
def as_the_machine_has_it():
    with np.errstate(all="ignore"):
        yield


def text(body, pointers=1, more="", limits=".maxntid 64, 1, 1"):
    """A module with one entry; %rd1, %rd2, ... are the addresses that it is given, %r1 is the thread."""
    params = ", ".join(f".param .u64 p{k}" for k in range(pointers))
    loads = "".join(f"ld.param.u64 %rd{k + 1}, [p{k}];\n" for k in range(pointers))
    return f""".version 8.0
        .target sm_90
        .address_size 64
        {more}
        .visible .entry k({params})
        {limits}
        {{
        .reg .pred %p<9>; .reg .b16 %rs<9>; .reg .b32 %r<20>; .reg .b64 %rd<20>; .reg .f32 %f<9>; .reg .f64 %fd<9>;
        {loads} mov.u32 %r1, %tid.x;
        {body}
        ret;
        }}"""


def run(body, *arrays, threads=4, blocks=1, shared=0, apart=False, **more):
    """What a body leaves of arrays."""
    memory = {(k + 1) << 40: a.copy().reshape(-1).view(np.uint8) for k, a in enumerate(arrays)}
    Program(text(body, len(arrays), **more)).launch("k", (blocks, 1, 1), (threads, 1, 1), shared, [
        int(k).to_bytes(8, "little") for k in memory], memory.get, apart)
    return [m.view(a.dtype) for m, a in zip(memory.values(), arrays)]


MINE = "mul.wide.u32 %rd9, %r1, 4; add.s64 %rd8, %rd1, %rd9;"         # the thread's word


# ------------------------------------------------------------------ arithmetic
def rounded(x, mode):
    """A fraction as a float32, found among its neighbours."""
    near = f32(float(x))
    three = [np.nextafter(near, f32(-np.inf)), near, np.nextafter(near, f32(np.inf))]
    exact = [Fraction(float(v)) for v in three]
    if mode == "rn":
        return min(zip(exact, three), key=lambda p: (abs(p[0] - x), int(p[1].view(np.uint32)) & 1))[1]
    down = max(p for p in zip(exact, three) if p[0] <= x)[1]
    up = min(p for p in zip(exact, three) if p[0] >= x)[1]
    return {"rm": down, "rp": up, "rz": down if x > 0 else up}[mode]


def numbers(seed, count=2000):
    """float32 whose sums and products need all kinds of rounding."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 1 << 23, count) * rng.choice([1, 0, 1 << 12], count) % (1 << 23)
    x = (bits | (rng.integers(107, 147, count) << 23) | (rng.integers(0, 2, count) << 31)).astype(np.uint32)
    return x.view(f32)


@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
def test_floats_are_rounded_once(mode):
    a, b, c = numbers(1), numbers(2), numbers(3)
    c[:1000] = (-a[:1000].astype(f64) * b[:1000] * (1 + 2.0 ** -24)).astype(f32)       # what is left is small
    for name, exact in (("fma", lambda x, y, z: x * y + z), ("mul", lambda x, y: x * y), ("add", lambda x, y: x + y),
                        ("sub", lambda x, y: x - y)):
        args = (a, b, c) if name == "fma" else (a, b)
        got = rule_of(f"{name}.{mode}.f32").run(*args)
        assert got.dtype == f32
        for k in range(len(a)):
            want = exact(*(Fraction(float(x[k])) for x in args))
            if want:
                assert got[k] == rounded(want, mode), (name, [x[k] for x in args])


def test_double_rounding_is_none():
    """Through float64 alone, some sums come to lie halfway and are rounded to the even neighbour."""
    a, b, c = f32([2.0 ** -12]), f32([2.0 ** -12]), f32([1.0 + 2.0 ** -23])
    tiny = f32([2.0 ** -70])
    assert rule_of("fma.rn.f32").run(a, b + f32(2.0 ** -35), c)[0] == f32(1 + 2.0 ** -22)
    assert rule_of("fma.rn.f32").run(a, b - f32(2.0 ** -36), f32([1.0]))[0] == 1
    assert rule_of("add.rp.f32").run(f32([1.0]), tiny)[0] == np.nextafter(f32(1), f32(2))
    wide = [np.array([x]) for x in (1 + 2.0 ** -52, 1 - 2.0 ** -52, -1.0)]
    assert rule_of("fma.rn.f64").run(*wide)[0] == -2.0 ** -104


def test_subnormals_are_flushed_where_that_is_said():
    x = f32([1e-40, -1e-40, 1.0])
    assert rule_of("add.f32").run(x, x)[0] != 0
    assert rule_of("add.ftz.f32").run(x, x).tolist() == [0, 0, 2]
    assert np.signbit(rule_of("mul.ftz.f32").run(x, f32([1] * 3))[1])
    assert rule_of("add.sat.f32").run(f32([2, -1, np.nan]), f32([0, 0, 0])).tolist() == [1, 0, 0]


@pytest.mark.parametrize("name", ["ex2", "lg2", "rcp", "rsqrt", "sqrt", "div"])
def test_what_is_approximate_is_near_and_not_exact(name):
    x = np.abs(numbers(4))
    exact = {"ex2": np.exp2, "lg2": np.log2, "rcp": lambda v: 1 / v, "rsqrt": lambda v: 1 / np.sqrt(v),
             "sqrt": np.sqrt, "div": lambda v: v / v[::-1]}[name](x.astype(f64))
    got = rule_of(f"{name}.approx.ftz.f32").run(*((x, x[::-1]) if name == "div" else (x,)))
    normal = np.isfinite(got) & (np.abs(exact) > 1e-37)
    assert normal.sum() > 900 and (got[normal] != exact[normal].astype(f32)).sum() > 200
    np.testing.assert_allclose(got[normal], exact[normal], rtol=3e-7)
    if name == "rcp":
        assert rule_of("rcp.approx.ftz.f32").run(f32([0, -0.0, np.inf, 3e38, 2])).tolist() == [
            np.inf, -np.inf, 0, 0, 0.5]
    if name == "div":
        assert rule_of("div.approx.f32").run(f32([1e38, np.inf]), f32([3e38, 3e38])).tolist()[0] == 0


def test_extremes_prefer_numbers_and_know_signs_of_zero():
    a, b = f32([np.nan, 1, 0.0, -0.0]), f32([2, np.nan, -0.0, 0.0])
    low, high = rule_of("min.f32").run(a, b), rule_of("max.f32").run(a, b)
    assert low.tolist() == [2, 1, 0, 0] and np.signbit(low).tolist() == [False, False, True, True]
    assert np.signbit(high).tolist() == [False] * 4 and high[:2].tolist() == [2, 1]
    assert np.isnan(rule_of("max.NaN.f32").run(a, b)[:2]).all()


@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_comparisons_of_what_is_no_number(kind):
    a, b = (x.ravel() for x in np.meshgrid(*[np.array(SPECIAL, {"f32": f32, "f64": f64}[kind])] * 2))
    none = np.isnan(a) | np.isnan(b)
    for name, plain in (("eq", a == b), ("ne", a != b), ("lt", a < b), ("le", a <= b), ("gt", a > b), ("ge", a >= b)):
        assert (rule_of(f"setp.{name}.{kind}").run(a, b) == (plain & ~none)).all(), name
        assert (rule_of(f"setp.{name}u.{kind}").run(a, b) == (plain | none)).all(), name
    assert (rule_of(f"setp.nan.{kind}").run(a, b) == none).all()
    assert (rule_of(f"setp.num.{kind}").run(a, b) != none).all()


def test_comparisons_are_joined():
    a = np.array([1, 2, 3], np.int32)
    flag = np.array([True, True, False])
    assert rule_of("setp.gt.and.s32").run(a, a * 0 + 1, flag).tolist() == [False, True, False]
    assert rule_of("set.gt.u32.s32").run(a, a * 0 + 1).tolist() == [0, 2 ** 32 - 1, 2 ** 32 - 1]
    assert rule_of("setp.lo.u32").run(*np.array([[1], [2 ** 31]], np.uint32)).tolist() == [True]


@pytest.mark.parametrize("opcode, values, want", [
    ("cvt.rzi.s32.f32", [1.9, -1.9, 3e9, -3e9, np.inf, np.nan], [1, -1, 2**31 - 1, -2**31, 2**31 - 1, 0]),
    ("cvt.rni.s32.f32", [0.5, 1.5, 2.5, -0.5], [0, 2, 2, 0]), ("cvt.rmi.s32.f32", [-0.5, 0.5], [-1, 0]),
    ("cvt.rpi.s32.f32", [-0.5, 0.5], [0, 1]), ("cvt.rzi.u32.f32", [-5, 5e9, np.nan], [0, 2**32 - 1, 0]),
    ("cvt.rzi.s16.f32", [40000, -40000, 7.9], [32767, -32768, 7]),
    ("cvt.rzi.s64.f32", [1e19, -1e19, np.nan, 2.0**62], [2**63 - 1, -2**63, -2**63, 2**62]),
    ("cvt.rzi.u64.f64", [2.0**63, -1, np.nan], [2**63, 0, 2**63]),
    ("cvt.rni.f32.f32", [0.5, 1.5, -2.5], [0, 2, -2]), ("cvt.sat.f32.f32", [2, -2, 0.25, np.nan], [1, 0, 0.25, 0]),
    ("cvt.rn.f16.f32", [1 + 2.0**-11, 1 + 3 * 2.0**-11, 1e6], [1, 1 + 2.0**-9, np.inf]),
    ("cvt.rz.f32.f64", [1 + 2.0**-24 + 2.0**-30, -1e300], [1, -np.finfo(f32).max]),
    ("cvt.rn.f32.s64", [2**24 + 1, 2**62 + 2**38 + 1], [2.0**24, 2.0**62 + 2.0**39]),
    ("cvt.s64.s32", [-1], [-1]), ("cvt.u64.u32", [2**32 - 1], [2**32 - 1]), ("cvt.s32.s8", [-3], [-3]),
    ("cvt.u32.u64", [2**33 + 5], [5]), ("cvt.sat.s8.s32", [300, -300], [127, -128])])
def test_conversions(opcode, values, want):
    rule = rule_of(opcode)
    got = rule.run(np.array(values, TYPES[rule.operands[0]]))
    assert got.dtype == TYPES[rule.results[0]] and got.tolist() == want


def test_integers_wrap_and_divide_towards_zero():
    a = np.array([7, -7, 7, -7, -2**63, 5], np.int64)
    b = np.array([2, 2, -2, -2, 3, 0], np.int64)
    assert rule_of("div.s64").run(a, b)[:5].tolist() == [3, -3, -3, 3, -(2**63 // 3)]
    assert rule_of("rem.s64").run(a, b)[:5].tolist() == [1, -1, 1, -1, -2]
    u, v = np.array([2**32 - 1, 6], np.uint32), np.array([2**32 - 1, 7], np.uint32)
    assert rule_of("mul.hi.u32").run(u, v).tolist() == [2**32 - 2, 0]
    assert rule_of("mul.wide.u32").run(u, v).tolist() == [(2**32 - 1)**2, 42]
    assert rule_of("mul.wide.s32").run(u.view(np.int32), v.view(np.int32)).tolist() == [1, 42]
    big = np.array([-2**63, 3 * 2**61], np.int64)
    assert rule_of("mul.hi.s64").run(big, big[::-1]).tolist() == [-2**63 * 3 * 2**61 >> 64] * 2
    assert rule_of("mad.lo.s32").run(*np.array([[2**31 - 1], [2], [5]], np.int32)).tolist() == [3]


@pytest.mark.parametrize("opcode, operands, want", [
    ("shl.b32", (1, 40), 0), ("shl.b32", (3, 31), 2**31), ("shr.u32", (2**31, 31), 1), ("shr.s32", (-8, 1), -4),
    ("shr.s32", (-8, 99), -1), ("shr.u64", (2**63, 64), 0), ("brev.b32", (1,), 2**31), ("clz.b32", (1,), 31),
    ("clz.b64", (0,), 64), ("popc.b32", (255,), 8), ("not.b32", (0,), 2**32 - 1), ("cnot.b32", (0,), 1),
    ("bfe.u32", (0xABCD, 4, 8), 0xBC), ("bfe.s32", (0xF00, 8, 4), -1), ("bfi.b32", (0xF, 0, 4, 8), 0xF0),
    ("prmt.b32", (0x03020100, 0x07060504, 0x7531), 0x07050301), ("prmt.b32", (0x80, 0, 0x8888), 2**32 - 1),
    ("shf.l.wrap.b32", (0x80000000, 1, 1), 3), ("shf.r.clamp.b32", (1, 0xFFFF, 32), 0xFFFF),
    ("shf.r.wrap.b32", (2, 1, 1), 2**31 + 1)])
def test_bits(opcode, operands, want):
    rule = rule_of(opcode)
    args = [np.array([x % 2**64]).astype(np.uint64).astype(TYPES[k]) for x, k in zip(operands, rule.operands)]
    assert rule.run(*args).tolist() == [want]


def test_words_with_carries():
    """64-bit products by 32-bit words, as libdevice has them."""
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 2**64, (2, 64), dtype=np.uint64)
    got, = run(MINE + """
        shl.b64 %rd9, %rd9, 2; add.s64 %rd8, %rd1, %rd9;
        { .reg .u32 alo, ahi, blo, bhi, r0, r1, r2, r3;
        ld.global.v2.u32 {alo, ahi}, [%rd8]; ld.global.v2.u32 {blo, bhi}, [%rd8+8];
        mad.lo.cc.u32 r0, alo, blo, 0; madc.hi.u32 r1, alo, blo, 0;
        mad.lo.cc.u32 r1, alo, bhi, r1; madc.hi.u32 r2, alo, bhi, 0;
        mad.lo.cc.u32 r1, ahi, blo, r1; madc.hi.cc.u32 r2, ahi, blo, r2; addc.u32 r3, 0, 0;
        mad.lo.cc.u32 r2, ahi, bhi, r2; madc.hi.u32 r3, ahi, bhi, r3;
        st.global.v4.u32 [%rd8], {r0, r1, r2, r3}; }""", np.stack([a, b], 1).reshape(-1), threads=64)
    for k in range(64):
        assert int(got[2 * k]) + (int(got[2 * k + 1]) << 64) == int(a[k]) * int(b[k])


# ------------------------------------------------------------------ threads
def test_threads_that_part_meet_again():
    """Lengths of Collatz sequences; then all threads exchange."""
    got, out = run(MINE + """
        mov.u32 %r3, 0; ld.global.u32 %r2, [%rd8];
        LOOP: setp.le.u32 %p1, %r2, 1; @%p1 bra DONE;
        and.b32 %r4, %r2, 1; setp.eq.s32 %p2, %r4, 0; @%p2 bra EVEN;
        mad.lo.s32 %r2, %r2, 3, 1; bra.uni NEXT;
        EVEN: shr.u32 %r2, %r2, 1;
        NEXT: add.s32 %r3, %r3, 1; bra.uni LOOP;
        DONE: st.global.u32 [%rd8], %r3; shfl.sync.bfly.b32 %r5, %r3, 1, 31, -1; add.s64 %rd8, %rd2, %rd9;
        st.global.u32 [%rd8], %r5;""", np.arange(32, dtype=np.uint32), np.zeros(32, np.uint32), threads=32)
    assert got[[27, 1, 7, 6]].tolist() == [111, 0, 16, 8]
    assert out.reshape(-1, 2)[:, ::-1].ravel().tolist() == got.tolist()


@pytest.mark.parametrize("how, by, clamp, want", [
    ("up", 2, 0, [0, 1, 0, 1, 2, 3, 4, 5]), ("down", 2, 31, [2, 3, 4, 5, 6, 7, 8, 9]),
    ("idx", 3, 31, [3] * 8), ("bfly", 1, 31, [1, 0, 3, 2, 5, 4, 7, 6]), ("down", 2, 0x1C03, [2, 3, 2, 3, 6, 7, 6, 7])])
def test_exchanges(how, by, clamp, want):
    got, = run(MINE + f"shfl.sync.{how}.b32 %r2|%p1, %r1, {by}, {clamp}, -1; st.global.u32 [%rd8], %r2;",
               np.zeros(32, np.uint32), threads=32)
    assert got[:8].tolist() == want


def test_votes():
    got, = run(MINE + """setp.lt.u32 %p1, %r1, 3; vote.sync.ballot.b32 %r2, %p1, -1; vote.sync.all.pred %p2, %p1, -1;
        vote.sync.any.pred %p3, !%p1, -1; selp.b32 %r3, 16, 0, %p2; selp.b32 %r4, 32, 0, %p3; add.s32 %r2, %r2, %r3;
        add.s32 %r2, %r2, %r4; st.global.u32 [%rd8], %r2;""", np.zeros(64, np.uint32), threads=64)
    assert got.tolist() == [7 + 32] * 32 + [32] * 32


def test_blocks_have_their_own_shared_memory_and_barriers():
    got, = run("""mov.u32 %r2, %ctaid.x; mad.lo.s32 %r3, %r2, 64, %r1; mul.wide.u32 %rd9, %r3, 4;
        add.s64 %rd8, %rd1, %rd9; mov.u64 %rd7, buf; shl.b32 %r4, %r1, 2; cvt.u64.u32 %rd6, %r4;
        add.s64 %rd6, %rd7, %rd6; st.shared.u32 [%rd6], %r3; bar.sync 0; sub.s32 %r5, 63, %r1;
        mul.wide.u32 %rd5, %r5, 4; add.s64 %rd5, %rd7, %rd5;
        ld.shared.u32 %r6, [%rd5]; st.global.u32 [%rd8], %r6;""", np.zeros(64 * 100, np.uint32), threads=64,
               blocks=100, more=".shared .align 4 .b8 buf[256];")
    assert got.reshape(100, 64)[:, ::-1].ravel().tolist() == list(range(6400))


@pytest.mark.parametrize("barrier", ["bar.sync 0;", ""])
def test_a_missing_barrier_shows_where_warps_run_one_after_the_other(barrier):
    body = f"""mul.wide.u32 %rd9, %r1, 4; add.s64 %rd8, %rd1, %rd9; mov.u64 %rd7, buf; add.s64 %rd6, %rd7, %rd9;
        st.shared.u32 [%rd6], %r1; {barrier} xor.b32 %r5, %r1, 32; mul.wide.u32 %rd5, %r5, 4; add.s64 %rd5, %rd7, %rd5;
        ld.shared.u32 %r6, [%rd5]; st.global.u32 [%rd8], %r6;"""
    for apart in (False, True):
        got, = run(body, np.zeros(64, np.uint32), threads=64, apart=apart, more=".shared .align 4 .b8 buf[256];")
        assert (got.tolist() == [x ^ 32 for x in range(64)]) == (bool(barrier) or not apart)


def test_additions_of_all_threads_arrive():
    for name, want in (("add.u32", 28 + 5), ("max.u32", 7), ("min.u32", 0), ("exch.b32", 7), ("or.b32", 7)):
        old, first = run(MINE + f"atom.global.{name} %r2, [%rd2], %r1; st.global.u32 [%rd8], %r2;",
                         np.zeros(8, np.uint32), np.array([5], np.uint32), threads=8)
        assert first[0] == want and old[0] == 5
    got, = run("red.global.add.f32 [%rd1], 0f3F800000;", np.zeros(1, f32), threads=64)
    assert got[0] == 64
    got, = run("add.s32 %r2, %r1, 1; atom.global.cas.b32 %r3, [%rd1], %r1, %r2;", np.zeros(1, np.uint32), threads=64)
    assert got[0] == 64


def test_functions_local_memory_and_tables():
    more = """.func (.param .b64 out) triple(.param .b64 x)
        { .local .align 8 .b8 mine[16]; .reg .b64 %rd<5>; ld.param.u64 %rd1, [x]; mov.u64 %rd2, mine;
        st.local.u64 [%rd2+8], %rd1; cvta.local.u64 %rd4, %rd2; ld.u64 %rd3, [%rd4+8]; mad.lo.s64 %rd3, %rd3, 3, 0;
        st.param.b64 [out+0], %rd3; ret; }
        .global .align 4 .u32 table[3] = {10, 20, 30};"""
    got, = run("""mul.wide.u32 %rd9, %r1, 8; add.s64 %rd8, %rd1, %rd9; rem.u32 %r2, %r1, 3;
        PICK: .branchtargets A, B, C; brx.idx %r2, PICK;
        A: mov.u64 %rd3, 1; bra.uni ON; B: mov.u64 %rd3, 2; bra.uni ON; C: mov.u64 %rd3, 3;
        ON: { .param .b64 a; st.param.b64 [a+0], %rd3; .param .b64 r; call.uni (r), triple, (a);
        ld.param.b64 %rd4, [r+0]; }
        mul.wide.u32 %rd5, %r2, 4; mov.u64 %rd6, table; add.s64 %rd6, %rd6, %rd5; ld.global.nc.u32 %rd7, [%rd6];
        add.s64 %rd4, %rd4, %rd7; st.global.u64 [%rd8], %rd4;""", np.zeros(6, np.uint64), threads=6, more=more)
    assert got.tolist() == [13, 26, 39] * 2


def test_guards_and_narrow_registers():
    got, = run(MINE + """setp.gt.u32 %p1, %r1, 1; mov.u32 %r2, 7; @%p1 mov.u32 %r2, 9; @!%p1 add.s32 %r2, %r2, 1;
        ld.global.s8 %rs1, [%rd8]; cvt.s32.s16 %r3, %rs1; add.s32 %r2, %r2, %r3; ld.global.u8 %r4, [%rd8];
        add.s32 %r2, %r2, %r4; st.global.u32 [%rd8], %r2;""", np.full(4, 0xFF, np.uint32))
    assert got.tolist() == [8 - 1 + 255] * 2 + [9 - 1 + 255] * 2


# ------------------------------------------------------------------ what a GPU leaves undefined
@pytest.mark.parametrize("body, message", [
    (MINE + "st.global.u32 [%rd8+4], %r1;", r"st.global.u32 \[%rd8\+4\], %r1`: an address beyond all global memory, or "
     r"16 bytes of it: 0x10000000010 \(block 0, thread 3\)"),
    ("st.global.u32 [%rd1+-4], %r1;", "beyond all global memory"), ("ld.global.u32 %r2, [0];", "beyond all global"),
    ("ld.global.u32 %r2, [%rd1+2];", r"the address is no multiple of 4: 0x10000000002 \(block 0, thread 0\)"),
    ("ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%rd1+8];", "no multiple of 16"),
    ("mov.u64 %rd2, buf; st.shared.u32 [%rd2+16], %r1;", "beyond all shared memory"),
    ("ld.shared.u32 %r2, [%rd1];", "beyond all shared memory"), ("ld.global.nc.u32 %r2, [%rd1];", "others may write"),
    ("setp.gt.u32 %p1, %r1, 1; @%p1 bra END; bar.sync 0; END:", r"`bar.sync 0` is not reached by all threads that it "
     r"waits for: 2 wait \(block 0, thread 0\)"),
    ("shfl.sync.bfly.b32 %r2, %r1, 1, 31, -1;", "not reached by all threads"),
    ("shfl.sync.bfly.b32 %r2, %r1, 1, 31, 7;", "a thread is not one of those that it names"),
    ("setp.gt.u32 %p1, %r1, 1; @%p1 bra END; shfl.sync.down.b32 %r2, %r1, 1, 31, 3; END:", "one that takes no part"),
    ("L: bra.uni L;", "the launch does not end"),
    ("mov.u64 %rd2, table; st.global.u32 [%rd2], %r1;", "not known here")])
def test_faults(body, message):
    more = ".shared .align 16 .b8 buf[16]; .shared .align 16 .b8 next[16]; .global .u32 table[2] = {1, 2};"
    with pytest.raises(PtxFault, match=message):
        run(body, np.zeros(4, np.uint32), more=more)


@pytest.mark.parametrize("body, message", [
    ("wmma.load.a %r1;", r"line \d+: `wmma.load.a %r1`: the instruction `wmma.load.a` is unknown"),
    ("add.rn.s32 %r2, %r1, %r1;", "`add.rn.s32` is unknown"), ("add.foo.f32 %f1, %f1, %f1;", r"unknown: \['foo'\]"),
    ("add.s32 %r2, %r1;", "takes 2 operands, received 1"), ("add.s64 %r2, %r1, %r1;", "a register of type .b32"),
    ("add.s32 %r2, %r1, %nothing;", "`%nothing` is neither a register nor"),
    ("bar.sync 0, 64;", "barrier is not known"), ("ld.global.weird.u32 %r2, [%rd1];", r"unknown: \['weird'\]"),
    ("activemask.b32 %r2;", "`activemask.b32` is unknown"), ("mov.f32 %f1, 0d3FF0000000000000;", "64 bits"),
    ("mov.f32 %f1, 1;", "an integer, `1`, as a .f32")])
def test_what_is_not_known_is_an_error(body, message):
    with pytest.raises((PtxError, ValueError), match=message):
        run(body, np.zeros(4, np.uint32))


def test_text_that_is_no_ptx():
    with pytest.raises(PtxError, match="line 4: expected a declaration, found 'nonsense"):
        Program(".version 8.0\n.target sm_90\n.address_size 64\nnonsense;")
    with pytest.raises(PtxError, match=r"expected `.target sm_NN`"):
        Program(".version 8.0\n.target gfx90a\n.address_size 64\n")


@pytest.mark.parametrize("options, message", [
    ({"threads": 65}, "65 threads, but .maxntid"), ({"shared": 50000}, "50000 bytes of shared memory"),
    ({"blocks": 0}, "0, 1, 1"), ({"threads": 32, "limits": ".reqntid 64, 1, 1"}, "32 threads, but .reqntid")])
def test_launches_that_a_driver_refuses(options, message):
    with pytest.raises(LaunchError, match=message):
        run("", np.zeros(1, np.uint32), **options)
