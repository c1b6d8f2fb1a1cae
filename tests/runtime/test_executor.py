"""The executor: guards, patches, loops, barriers, threads, fork and exit."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from graphk.codegen import cache
from graphk.codegen.target import host_target
from graphk.runtime import executor as ex
from graphk.runtime.executor import Binding, Call, Executor, Guard, Loop, Parts, Patch, pack_externs

SOURCE = """
def add(args, tid, nt):
    x = ptr_f32(args, 0)
    y = ptr_f32(args, 1)
    n = arg_i64(args, 2)
    for i in range(share_lo(n, tid, nt, 4), share_hi(n, tid, nt, 4)):
        y[i] = s_add(y[i], x[i])

def rotate(args, tid, nt):
    x = ptr_f32(args, 0)
    y = ptr_f32(args, 1)
    n = arg_i64(args, 2)
    for i in range(share_lo(n, tid, nt, 1), share_hi(n, tid, nt, 1)):
        y[i] = s_add(x[(i + n // 2 + 1) % n], f32(1.0))

def count(args, tid, nt):
    p = ptr_i64(args, 0)
    p[0] = p[0] + 1

def slow(args, tid, nt):
    p = ptr_i64(args, 0)
    for i in range(20000 * (tid + 1)):
        fetch_add(p, 0, 1)
"""
ENTRIES = ("add", "rotate", "count", "slow")


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    os.environ.setdefault("GRAPHK_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    return cache.get_kernel(SOURCE, ENTRIES, host_target())


@pytest.fixture(scope="module")
def executor(kernels: dict[str, int]) -> Iterator[Executor]:
    made = Executor(4)
    yield made
    made.close()


def slots(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def run(executor: Executor, binding: Binding, arrays: Sequence[np.ndarray], nt: int) -> int:
    externs = pack_externs(arrays)
    return executor.run(binding.address, ctypes.addressof(externs), nt)


def adder(kernels: dict[str, int], n: int = 64) -> tuple[Binding, np.ndarray]:
    args = slots(0, 0, n)
    base = args.ctypes.data
    guards = [Guard("float32", (n // 8, 8)), Guard("float32", (n // 8, 8), writeable=True)]
    return Binding(guards, [Patch(0, base), Patch(1, base + 8)], [Call(kernels["add"], base)]), args


@pytest.mark.parametrize("nt", [1, 2, 3, 4])
def test_runs_with_any_thread_count(executor: Executor, kernels: dict[str, int], nt: int) -> None:
    binding, args = adder(kernels)
    x, y = np.arange(64, dtype=np.float32).reshape(8, 8), np.zeros((8, 8), np.float32)
    for turn in range(1, 50):
        assert run(executor, binding, [x, y], nt) == 0
        np.testing.assert_array_equal(y, turn * x)
    assert args[0] == x.ctypes.data


def misfits() -> dict[str, tuple[int, np.ndarray]]:
    """Name to (position, array that must be refused there)."""
    good = np.zeros((8, 8), np.float32)
    frozen = good.copy()
    frozen.flags.writeable = False
    raw = np.zeros(257, np.uint8)[1:].view(np.float32).reshape(8, 8)
    return {
        "dtype": (0, good.astype(np.float64)),
        "swapped": (0, good.astype(">f4")),
        "shape": (0, np.zeros((8, 9), np.float32)),
        "rank": (1, np.zeros((8, 8, 1), np.float32)),
        "strided": (0, np.zeros((8, 16), np.float32)[:, ::2]),
        "transposed": (0, np.zeros((8, 8), np.float32, order="F")),
        "frozen": (1, frozen),
        "unaligned": (0, raw),
        "subclass": (0, good.view(np.recarray)),
    }


@pytest.mark.parametrize("name", misfits())
@pytest.mark.parametrize("nt", [1, 2])
def test_guard_failures_name_the_extern_and_run_nothing(
    executor: Executor, kernels: dict[str, int], name: str, nt: int
) -> None:
    position, wrong = misfits()[name]
    binding, args = adder(kernels)
    arrays = [np.ones((8, 8), np.float32), np.zeros((8, 8), np.float32)]
    result = arrays[1]
    arrays[position] = wrong
    assert run(executor, binding, arrays, nt) == position + 1
    assert not result.any() and not args[:2].any()


def test_frozen_input_is_fine(executor: Executor, kernels: dict[str, int]) -> None:
    binding, _ = adder(kernels)
    frozen, y = np.ones((8, 8), np.float32), np.zeros((8, 8), np.float32)
    frozen.flags.writeable = False
    assert run(executor, binding, [frozen, y], 1) == 0 and y.all()


def test_object_that_is_no_array_is_refused(executor: Executor, kernels: dict[str, int]) -> None:
    binding, _ = adder(kernels)
    externs = pack_externs([object(), np.zeros((8, 8), np.float32)])  # type: ignore[list-item]
    keep = ["a string that is long enough to be read as an array object, header and all"]
    externs[0] = id(keep)
    assert executor.run(binding.address, ctypes.addressof(externs), 1) == 1


def test_one_extern_may_fill_many_slots(executor: Executor, kernels: dict[str, int]) -> None:
    args = slots(0, 0, 8)
    base = args.ctypes.data
    y = np.ones(8, np.float32)
    binding = Binding(
        [Guard("float32", (8,), True)], [Patch(0, base), Patch(0, base + 8)], [Call(kernels["add"], base)]
    )
    assert run(executor, binding, [y], 2) == 0
    np.testing.assert_array_equal(y, 2)


@pytest.mark.parametrize("nt", [1, 2, 3, 4])
def test_barriers_order_dependent_steps(executor: Executor, kernels: dict[str, int], nt: int) -> None:
    """Every step reads what other threads wrote in the step before."""
    n = 37
    x, y = np.arange(n, dtype=np.float32), np.zeros(n, np.float32)
    there, back = slots(x.ctypes.data, y.ctypes.data, n), slots(y.ctypes.data, x.ctypes.data, n)
    steps = [Call(kernels["rotate"], a.ctypes.data) for a in (there, back)] * 100
    assert run(executor, Binding((), (), steps), [], nt) == 0
    want = np.arange(n, dtype=np.float32)
    for _ in range(200):
        want = np.roll(want, -(n // 2 + 1)) + 1
    np.testing.assert_array_equal(x, want)


@pytest.mark.parametrize("nt", [1, 2, 4])
def test_loops_advance_and_restore_their_slots(executor: Executor, kernels: dict[str, int], nt: int) -> None:
    x = np.arange(40, dtype=np.float32).reshape(5, 8)
    y, total = np.zeros((5, 8), np.float32), np.zeros(8, np.float32)
    rows, acc = slots(x.ctypes.data, y.ctypes.data, 8), slots(x.ctypes.data, total.ctypes.data, 8)
    before = rows.copy(), acc.copy()
    bumps = ((rows.ctypes.data, 32), (rows.ctypes.data + 8, 32), (acc.ctypes.data, 32))
    body = (Call(kernels["add"], rows.ctypes.data), Call(kernels["add"], acc.ctypes.data, barrier=False))
    binding = Binding((), (), [Loop(5, bumps, body)])
    for turn in (1, 2):
        assert run(executor, binding, [], nt) == 0
        np.testing.assert_array_equal(y, turn * x)
        np.testing.assert_array_equal(total, turn * x.sum(axis=0))
        np.testing.assert_array_equal(rows, before[0])
        np.testing.assert_array_equal(acc, before[1])


@pytest.mark.parametrize("nt", [1, 2, 4])
def test_parts_are_each_threads_own(executor: Executor, kernels: dict[str, int], nt: int) -> None:
    """Thread i runs its list alone, loops included, as the only thread; the step behind sees all of them done."""
    x = np.arange(80, dtype=np.float32).reshape(2, 5, 8)
    y, total, after = np.zeros((2, 5, 8), np.float32), np.zeros((4, 8), np.float32), np.zeros((4, 8), np.float32)
    keep, parts = [], []
    for i in range(nt):
        rows, acc = slots(x[i % 2].ctypes.data, total[i].ctypes.data, 8), slots(x[0].ctypes.data, y[0].ctypes.data, 0)
        keep += [rows, acc]
        loop = Loop(5, ((rows.ctypes.data, 32),), (Call(kernels["add"], rows.ctypes.data),
                                                   Loop(0, (), (Call(kernels["add"], acc.ctypes.data),))))
        parts.append((loop,) if i != 2 else ())                       # a thread may have nothing to do
    last = slots(total.ctypes.data, after.ctypes.data, 32)
    binding = Binding((), (), [Parts(tuple(parts)), Call(kernels["add"], last.ctypes.data)])
    want = np.stack([x[i % 2].sum(axis=0) if i < nt and i != 2 else np.zeros(8) for i in range(4)])
    for turn in range(1, 40):
        total[:] = 0
        assert run(executor, binding, [], nt) == 0
        np.testing.assert_array_equal(total, want)
        np.testing.assert_array_equal(after, turn * want)


@pytest.mark.parametrize("nt", [1, 3])
def test_nested_and_empty_loops_and_lone_calls(executor: Executor, kernels: dict[str, int], nt: int) -> None:
    counter = np.zeros(1, np.int64)
    args = slots(counter.ctypes.data)
    once = Call(kernels["count"], args.ctypes.data, alone=True)
    steps = [once, Loop(3, (), (Loop(4, (), (once,)), Loop(0, (), (once, once)), once)), Loop(0, (), (once,)), once]
    assert run(executor, Binding((), (), steps), [], nt) == 0
    assert counter[0] == 1 + 3 * (4 + 1) + 1


def test_uneven_work_and_changing_thread_counts(executor: Executor, kernels: dict[str, int]) -> None:
    counter = np.zeros(1, np.int64)
    args = slots(counter.ctypes.data)
    binding = Binding((), (), [Call(kernels["slow"], args.ctypes.data)])
    expected = 0
    for nt in [4, 2, 3, 1, 4, 2] * 5:
        assert run(executor, binding, [], nt) == 0
        expected += 20000 * nt * (nt + 1) // 2
        assert counter[0] == expected


def test_sleeping_workers_wake_up(kernels: dict[str, int]) -> None:
    made = Executor(3)
    binding, _ = adder(kernels)
    x, y = np.ones((8, 8), np.float32), np.zeros((8, 8), np.float32)
    pause = threading.Event()
    for turn in range(1, 6):
        assert run(made, binding, [x, y], 2 + turn % 2) == 0
        assert (y == turn).all()
        pause.wait(0.02)
    made.close()
    assert run(made, binding, [x, y], 3) == 0 and (y == 6).all()
    made.close()


def test_runs_from_many_python_threads(executor: Executor, kernels: dict[str, int]) -> None:
    failures: list[str] = []

    def work() -> None:
        binding, args = adder(kernels)
        x, y = np.ones((8, 8), np.float32), np.zeros((8, 8), np.float32)
        for turn in range(1, 101):
            if run(executor, binding, [x, y], 1 + turn % 4) != 0 or not (y == turn).all():
                failures.append(f"turn {turn}: {y}, {args}")
                return

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_bad_requests_are_refused(executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="this executor has 4"):
        executor.run(Binding((), (), ()).address, 0, 5)
    with pytest.raises(ValueError, match="patch names extern 0"):
        Binding((), [Patch(0, 0)], ())
    with pytest.raises(ValueError, match="needs 1 to"):
        Executor(0)
    monkeypatch.setenv("GRAPHK_NUM_THREADS", "3")
    assert ex.thread_count() == 3
    monkeypatch.setenv("GRAPHK_NUM_THREADS", "none")
    with pytest.raises(ValueError, match="GRAPHK_NUM_THREADS"):
        ex.thread_count()


LIFE = """
import ctypes, os, sys, warnings
import numpy as np
from graphk.codegen import cache
from graphk.codegen.target import host_target
from graphk.runtime.executor import Binding, Call, Executor
kernels = cache.get_kernel(sys.stdin.read(), {entries!r}, host_target())
counter = np.zeros(1, np.int64)
args = np.array([counter.ctypes.data], np.int64)
binding = Binding((), (), [Call(kernels["slow"], args.ctypes.data)])
executor = Executor(3)
def check():
    counter[0] = 0
    assert executor.run(binding.address, 0, 3) == 0
    assert counter[0] == 120000, counter
check()
if {fork}:
    warnings.simplefilter("ignore")
    child = os.fork()
    check()
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
print("numba" in sys.modules)
"""


@pytest.mark.parametrize(
    "fork", [False, pytest.param(True, marks=pytest.mark.skipif(not hasattr(os, "fork"), reason="fork"))]
)
def test_exit_and_fork_are_clean_and_warm_start_needs_no_numba(
    kernels: dict[str, int], executor: Executor, fork: bool
) -> None:
    script = LIFE.format(entries=ENTRIES, fork=fork)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], input=SOURCE, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False"] and not done.stderr


INTERRUPTED = """
import os, random, signal, subprocess, sys, time
import numpy as np
from graphk import backend as K
armed = False
def interrupt(*_):
    global armed
    if armed:
        armed = False
        raise KeyboardInterrupt
signal.signal(signal.SIGINT, interrupt)
w, v, x = K.variable(np.zeros((400, 400))), K.variable(np.zeros((400, 400))), K.placeholder((None, 400))
step = K.function([x], [K.dot(x, w)], [K.update_add(w, K.ones_like(w)), K.update(v, w + 1.)])
data, count, calls = np.ones((128, 400), "f"), 0, 0
step([data])                                           # compiles
sender = subprocess.Popen([sys.executable, "-c", f"import os, random, signal, time\\nwhile 1:\\n"
                           f" time.sleep(.0005 + random.random() * .004)\\n os.kill({os.getpid()}, signal.SIGINT)"])
end = time.monotonic() + 3
while time.monotonic() < end:
    try:
        armed = True
        while time.monotonic() < end:
            time.sleep(.0005 * random.random())        # workers fall asleep in some of these
            step([data])
            calls += 1
    except KeyboardInterrupt:
        count += 1
    armed = False
    a, b = K.get_value(w), K.get_value(v)
    assert (a == a[0, 0]).all() and (b == a[0, 0]).all(), (a.min(), a.max(), b.min(), b.max())
sender.kill()
assert count > 3 and calls, (count, calls)
step([data])
"""


@pytest.mark.skipif(not hasattr(os, "kill"), reason="signals come from another process")
def test_interrupts_leave_variables_whole_and_workers_awake():
    """SIGINT at any time, from another process, into calls that run on two threads."""
    env = {**os.environ, "GRAPHK_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
