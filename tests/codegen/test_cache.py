"""The kernel cache: hits, damage, ownership, races, and warm processes without Numba."""

from __future__ import annotations

import ast
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from graphk.codegen import cache, native, versions
from graphk.codegen.target import host_target
from tests.codegen.kernels import MATMUL_SOURCE

SOURCE = """
def store(args, tid, nt):
    p = ptr_i64(args, 0)
    p[0] = arg_i64(args, 1) + %d
"""
ENTRIES = ("store",)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "deep" / "cache"
    monkeypatch.setenv("GRAPHK_CACHE_DIR", str(path))
    cache.forget()
    yield path
    cache.forget()


def fetch(number: int = 1) -> dict[str, int]:
    return cache.get_kernel(SOURCE % number, ENTRIES, native.host_target())


def only_file(place: Path) -> Path:
    (path,) = place.glob("*.gko")
    return path


def test_memory_then_disk(place: Path) -> None:
    first = fetch()
    assert fetch() is first
    assert (cache.stats()["compiled"], cache.stats()["memory_hits"]) == (1, 1)
    cache.forget()
    fetch()
    assert (cache.stats()["compiled"], cache.stats()["disk_hits"]) == (0, 1)


def test_private_modes(place: Path) -> None:
    fetch()
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(only_file(place).stat().st_mode) == 0o600


def test_the_key_covers_what_compiles_and_no_more() -> None:
    """Every module of this package that the compiler imports, and none of those that print CUDA or keep files."""
    package = Path(native.__file__).parent
    seen: set[str] = set()
    todo = ["native", "dialect"]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        for node in ast.walk(ast.parse((package / f"{name}.py").read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("graphk"):
                assert str(node.module).startswith("graphk.codegen")
                rest = str(node.module).split(".")[2:]
                todo += rest or [alias.name for alias in node.names]
    left_out = {name.removesuffix(".py") for name in versions._NOT_COMPILING}
    assert not seen & left_out and left_out >= {"cuda", "cuda_compile", "cache", "batch", "cpu"}
    assert {path.stem for path in package.glob("*.py")} == seen | left_out | {"__init__"}


def test_key_tells_source_entries_target_apart() -> None:
    machine = native.host_target()
    keys = {
        cache.key_of("a", ("b",), machine),
        cache.key_of("ab", ("",), machine),
        cache.key_of("a", ("b", "c"), machine),
        cache.key_of("a", ("b",), native.named_target("sse")),
    }
    assert len(keys) == 4


def test_any_flipped_byte_is_noticed(place: Path) -> None:
    fetch()
    good = only_file(place).read_bytes()
    for position in [0, 9, 41, 60, len(good) // 2, len(good) - 1]:
        damaged = bytearray(good)
        damaged[position] ^= 0x40
        only_file(place).write_bytes(damaged)
        cache.forget()
        fetch()
        assert (cache.stats()["corrupt"], cache.stats()["compiled"]) == (1, 1)
        assert only_file(place).read_bytes() == good


@pytest.mark.parametrize("size", [0, 5, 40, 100])
def test_truncated_file_is_replaced(place: Path, size: int) -> None:
    fetch()
    good = only_file(place).read_bytes()
    only_file(place).write_bytes(good[:size])
    cache.forget()
    fetch()
    assert cache.stats()["corrupt"] == 1 and only_file(place).read_bytes() == good


def test_file_under_another_kernels_name_is_refused(place: Path) -> None:
    fetch(1)
    first = only_file(place)
    machine = native.host_target()
    other = place / (cache.key_of(SOURCE % 1, ENTRIES, native.named_target("sse")) + cache.SUFFIX)
    first.rename(other)
    cache.get_object(SOURCE % 1, ENTRIES, native.named_target("sse"))
    assert cache.stats()["corrupt"] == 1 and machine != native.named_target("sse")


def test_foreign_owner_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch()
    cache.forget()
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.warns(cache.CacheWarning, match="belongs to user"):
        fetch()
    fetch(2)
    assert cache.stats()["compiled"] == 2 and len(list(place.glob("*.gko"))) == 1


def test_writable_by_others_is_refused(place: Path) -> None:
    fetch()
    cache.forget()
    only_file(place).chmod(0o666)
    with pytest.warns(cache.CacheWarning, match="other users may write"):
        fetch()
    assert cache.stats()["refused"] == 1
    assert stat.S_IMODE(only_file(place).stat().st_mode) == 0o600
    cache.forget()
    place.chmod(0o777)
    with pytest.warns(cache.CacheWarning, match="directory"):
        fetch()


def test_symbolic_link_is_refused(place: Path, tmp_path: Path) -> None:
    fetch()
    cache.forget()
    target = only_file(place)
    target.rename(tmp_path / "elsewhere")
    target.symlink_to(tmp_path / "elsewhere")
    with pytest.warns(cache.CacheWarning, match="refused"):
        fetch()
    assert cache.stats()["compiled"] == 1


def test_unusable_directory_works_in_memory_with_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    monkeypatch.setenv("GRAPHK_CACHE_DIR", str(blocker / "cache"))
    with pytest.warns(cache.CacheWarning, match="memory only") as caught:
        fetch(1)
        fetch(2)
        fetch(1)
    assert len(caught) == 1 and cache.stats()["compiled"] == 2 and cache.stats()["memory_hits"] == 1


def test_clear_deletes_files(place: Path) -> None:
    fetch(1)
    fetch(2)
    assert cache.clear() == 2 and not list(place.glob("*"))


WARM = """
import ctypes, sys
import numpy as np
from graphk.codegen import cache
from graphk.codegen.target import host_target
source = sys.stdin.read()
kernel = cache.get_kernel(source, ("store",), host_target())
out = np.zeros(1, np.int64)
args = np.array([out.ctypes.data, 41], np.int64)
ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(kernel["store"])(args.ctypes.data, 0, 1)
assert out[0] == 42, out
print(int(cache.stats()["compiled"]), "numba" in sys.modules, "llvmlite" in sys.modules)
"""


def start(env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", WARM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(SOURCE % 1)
    process.stdin.close()
    process.stdin = None
    return process


def test_racing_processes_share_one_directory(place: Path) -> None:
    processes = [start() for _ in range(16)]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert sorted(p.suffix for p in place.iterdir()) == [".gko", ".host"]


def test_warm_process_imports_neither_numba_nor_llvm(place: Path) -> None:
    fetch()
    for path in place.glob("*.host"):
        path.unlink()
    for here in ("True", "False"):          # the first asks LLVM what this machine is
        process = start()
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        assert output.split() == ["0", "False", here]


BLOCK_WARM = """
import sys
from graphk.codegen import cache, native, versions
cache.get_kernel(sys.argv[1], ("matmul",), native.host_target())
print(int(cache.stats()["compiled"]), int(cache.stats()["disk_hits"]), "numba" in sys.modules)
"""


def test_contraction_blocks_are_cached_and_shared(place: Path) -> None:
    source = MATMUL_SOURCE.format(t="f32")
    cache.get_kernel(source, ("matmul",), native.host_target())
    assert cache.stats()["compiled"] == 3
    cache.get_kernel(source + "\n", ("matmul",), native.host_target())
    assert cache.stats()["compiled"] == 4
    done = subprocess.run([sys.executable, "-c", BLOCK_WARM, source], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "3", "False"]


def test_what_is_no_file_under_a_kernels_name(place: Path) -> None:
    fetch()
    path = only_file(place)
    path.unlink()
    path.mkdir()
    cache.forget()
    with pytest.warns(cache.CacheWarning, match="cannot be written"), pytest.warns(match="not a regular file"):
        fetch()
    assert cache.stats()["refused"] == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may search any directory")
def test_a_directory_that_may_not_be_searched(place: Path) -> None:
    place.parent.mkdir(mode=0o000)
    try:
        cache.prefetch(lambda: (SOURCE % 5, ENTRIES, native.host_target()))
        with pytest.warns(cache.CacheWarning, match="cannot be used"):
            fetch(5)
    finally:
        place.parent.chmod(0o700)


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GRAPHK_CACHE_DIR")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)         # what it does where there is no home
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert cache.directory() == tmp_path / ".graphk" / "cache"


def test_a_terminal_is_told_of_a_long_wait(place: Path, monkeypatch: pytest.MonkeyPatch,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cache, "PATIENCE_S", 0.0)
    jobs = [(f"def k{i}(args, tid, nt):\n    ptr_f32(args, 0)[{i}] = f32(1.0)\n", (f"k{i}",), host_target())
            for i in range(3)]
    cache.get_kernels(jobs[:2])
    assert capsys.readouterr().err == "", "nobody reads along"
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    cache.clear()
    cache.forget()
    cache.get_kernels(jobs)
    said = capsys.readouterr().err
    assert said.count("graphk is compiling") == 1 and str(place) in said
