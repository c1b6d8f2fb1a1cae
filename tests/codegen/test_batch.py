"""Kernels compiled together by processes of their own: same objects, real errors, no leftovers, every failure."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from graphk.codegen import batch, cache, micro, native
from tests.codegen.kernels import MATMUL_SOURCE

SOURCE = """
def store(args, tid, nt):
    p = ptr_i64(args, 0)
    p[0] = arg_i64(args, 1) + %d
"""
WRONG = "def store(args, tid, nt):\n    x = s_exp(i64(3))\n"
pytestmark = pytest.mark.skipif(batch.process_count() == 0, reason="this interpreter cannot be started again")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("GRAPHK_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("GRAPHK_COMPILE_PROCESSES", raising=False)
    batch.close()
    cache.forget()
    yield tmp_path / "cache"
    batch.close()
    cache.forget()


def jobs(*numbers: int) -> list[native.Job]:
    return [(SOURCE % n, ("store",), native.host_target()) for n in numbers]


def test_a_batch_gives_the_same_objects_as_this_process(place: Path) -> None:
    work = [*jobs(1, 2, 3), (MATMUL_SOURCE.format(t="f32"), ("matmul",), native.host_target())]
    tables = cache.get_kernels([*work, work[0]])
    assert tables[0] is tables[4] and [set(t) for t in tables[:4]] == [{"store"}] * 3 + [{"matmul"}]
    assert cache.stats()["compiled"] == 6 and cache.stats()["lost"] == 0
    for job in work:
        assert cache.get_object(*job).data == native.compile_job(*job).data
    assert len(list(place.glob("*.gko"))) == 6 and batch._RUNNING


def test_only_what_is_missing_is_compiled() -> None:
    cache.get_kernels(jobs(1, 2))
    cache.forget()
    cache.get_kernels(jobs(1, 2, 3))
    assert (cache.stats()["disk_hits"], cache.stats()["compiled"]) == (2, 1)


def test_on_a_new_machine_what_every_network_needs_is_begun_before_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, pattern in cache.USUAL_BLOCKS.items():
        assert pattern in [item.pattern for item in micro.BUILDINGS if item.name == name]
    cache.begin(lambda: jobs(1)[0])
    assert not batch._RUNNING, "this machine is known"
    monkeypatch.setattr(cache, "host_is_known", lambda: False)
    cache.begin(lambda: jobs(1)[0])
    begun = [key for given in batch._RUNNING[0].given.values() for key, _ in given]
    assert cache.key_of(*jobs(1)[0]) in begun and len(begun) == len(set(begun)) > 1
    cache.get_kernels(jobs(1, 2), later=jobs(3))
    kept = cache.stats()["compiled"]
    cache.get_kernels(jobs(1, 2))
    cache.get_kernels(jobs(3))
    assert kept <= cache.stats()["compiled"] <= 3 + len(cache.USUAL_BLOCKS)


def test_what_a_lost_process_was_given_ahead_waits_again() -> None:
    pool = batch.Pool(1)
    for n in range(3):
        pool.submit(str(n), jobs(n)[0])
    pool.start(ahead=3)
    assert not pool.waiting
    os.killpg(pool.process.pid, signal.SIGKILL)
    key, made, why = pool.next()
    assert made is None and why and sorted([key, *pool.waiting]) == ["0", "1", "2"]
    pool.close()


def test_without_processes_this_one_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHK_COMPILE_PROCESSES", "0")
    cache.get_kernels(jobs(1, 2))
    assert cache.stats()["compiled"] == 2 and not batch._RUNNING
    monkeypatch.setenv("GRAPHK_COMPILE_PROCESSES", "many")
    with pytest.raises(ValueError, match="whole number"):
        cache.get_kernels(jobs(3))


def test_an_error_is_the_compilers_own_and_the_rest_goes_on() -> None:
    with pytest.raises(native.KernelError, match="float32"):
        cache.get_kernels([*jobs(1, 2), (WRONG, ("store",), native.host_target())])
    assert len(cache.get_kernels(jobs(1, 2))) == 2
    with pytest.raises(native.KernelError, match="takes 1 arguments"):
        native.compile_source("def k(args):\n    pass\n", ("k",), native.host_target())


def test_dead_processes_are_replaced_by_this_one() -> None:
    pool = batch.pool(2)
    assert pool is not None
    for job in jobs(1, 2):
        pool.submit(cache.key_of(*job), job)
    pool.start()
    os.killpg(pool.process.pid, signal.SIGKILL)
    with pytest.warns(cache.CacheWarning, match="ended early"):
        assert len(cache.get_kernels(jobs(1, 2))) == 2
    assert cache.stats()["lost"] >= 1


def test_an_interpreter_that_cannot_be_started_is_told_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.warns(cache.CacheWarning, match="no compiler process") as caught:
        cache.get_kernels(jobs(1, 2))
    assert len(caught) == 1 and cache.stats()["compiled"] == 2


def test_an_unusable_directory_needs_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRAPHK_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.warns(cache.CacheWarning, match="memory only"):
        cache.get_kernels(jobs(1, 2))
    assert cache.stats()["compiled"] == 2 and cache.stats()["lost"] == 0


@pytest.mark.parametrize("known", [True, False])
def test_processes_start_before_llvm_is_asked_about_this_machine(monkeypatch: pytest.MonkeyPatch, known: bool) -> None:
    monkeypatch.setattr(cache, "host_is_known", lambda: known)
    started: list[bool] = []

    def job() -> native.Job:
        started.append(bool(batch._RUNNING))
        return jobs(7)[0]

    cache.prefetch(job)
    assert started == [not known] and batch._RUNNING
    cache.get_kernels(jobs(7))
    assert (cache.stats()["compiled"], cache.stats()["lost"]) == (1, 0)


def test_a_prefetched_kernel_is_not_compiled_twice(place: Path) -> None:
    cache.prefetch(lambda: jobs(1)[0])
    cache.get_kernels(jobs(2, 3))
    cache.get_kernels(jobs(1))
    assert cache.stats()["compiled"] == 3 and len(list(place.glob("*.gko"))) == 3


def test_an_interrupt_ends_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = batch.pool(2)
    assert pool is not None

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pool, "next", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cache.get_kernels(jobs(1, 2))
    assert pool.process.returncode is not None and not batch._RUNNING
    with pytest.raises(ProcessLookupError):
        os.kill(pool.process.pid, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_lets_go_of_them() -> None:
    cache.get_kernels(jobs(1, 2))
    pool = batch._RUNNING[0]
    child = os.fork()
    if child == 0:
        code = 1
        try:
            cache.get_kernels(jobs(3, 4))
            code = 0 if batch._RUNNING[0] is not pool else 2
            batch.close()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert pool.alive() and pool.process.poll() is None


SCRIPT = """
import sys, threading
from graphk.codegen import batch, cache, micro, native
source = {source!r}
threading.Thread(target=threading.Event().wait, daemon=True).start()
cache.get_kernels([(source % n, ("store",), native.host_target()) for n in range(4)])
print(int(cache.stats()["compiled"]), "numba" in sys.modules, batch._RUNNING[0].process.pid, repr(sys.stdin.read()))
"""


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_script_without_guard_keeps_its_streams_and_leaves_nothing(tmp_path: Path, threads: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(source=SOURCE))
    paths = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)], input="mine", capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": paths, "GRAPHK_NUM_THREADS": threads}, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    compiled, imported, group, read = done.stdout.split()
    assert (compiled, imported, read, done.stderr) == ("4", "False", "'mine'", "")
    for _ in range(200):
        try:
            os.killpg(int(group), 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("compiler processes outlive the script")
