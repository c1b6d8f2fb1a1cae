"""The loader of objects: beside LLVM's on every kernel of a model, on damaged objects, and on what it does not know."""

from __future__ import annotations

import ctypes
import functools
import random
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from graphk.codegen import cache, elf, native, objects, target, versions
from tests.codegen.kernels import MATMUL_SOURCE, PROTOTYPE, call

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or target.host_target().triple.split("-")[0] != "x86_64",
    reason="LLVM loads all objects on this machine",
)
# Calls of the C library, a constant, a vector constant, and a block: every kind of relocation that kernels have.
SOURCE = """
def k(args, tid, nt):
    x = ptr_f64(args, 0)
    n = arg_i64(args, 1)
    for i in range(0, n):
        x[i] = s_add(s_exp(x[i]), s_mul(s_sin(x[i]), f64(0.37)))
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GRAPHK_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("GRAPHK_COMPILE_PROCESSES", "0")
    cache.forget()
    yield
    cache.forget()


@functools.lru_cache(maxsize=4)
def compiled(source: str, entry: str) -> objects.CompiledObject:
    return native.compile_source(source, (entry,), target.host_target())


def run(addresses: dict[str, int]) -> np.ndarray:
    x = np.linspace(-3, 3, 41)
    call(PROTOTYPE(addresses["k"]), [x, len(x)])
    return x


def test_both_loaders_give_the_same_code() -> None:
    made = compiled(SOURCE, "k")
    ours, llvm = run(elf.load(made.data, made.entries)), run(objects.load_by_llvm(made, {}))
    x = np.linspace(-3, 3, 41)
    np.testing.assert_array_equal(ours, llvm)
    np.testing.assert_allclose(ours, np.exp(x) + 0.37 * np.sin(x), rtol=1e-12)


def test_every_kernel_of_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training step and a prediction, bit for bit, with each loader; ours takes every one of the objects."""
    import graphk

    def trained() -> list[np.ndarray]:
        cache.forget()
        graphk.backend.clear_session()
        np.random.seed(5)
        layers = graphk.layers
        model = graphk.models.Sequential([
            layers.Conv2D(3, 3, activation="relu", input_shape=(6, 6, 2)), layers.BatchNormalization(),
            layers.MaxPooling2D(), layers.Flatten(), layers.Dropout(0.3), layers.Dense(5, activation="softmax")])
        model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
        x, y = np.random.rand(7, 6, 6, 2), np.eye(5)[np.random.randint(0, 5, 7)]
        losses = [np.array(model.train_on_batch(x, y)) for _ in range(2)]
        return [*losses, model.predict_on_batch(x), *model.get_weights()]

    def refuse(*_: object) -> dict[str, int]:
        raise AssertionError("LLVM's loader was asked")

    with monkeypatch.context() as patch:
        patch.setattr(objects, "load_by_llvm", refuse)
        ours = trained()
    with monkeypatch.context() as patch:
        patch.setattr(elf, "load", lambda *_: (_ for _ in ()).throw(elf.NotLoadable("a test")))
        llvm = trained()
    for a, b in zip(ours, llvm, strict=True):
        np.testing.assert_array_equal(a, b)


def test_memory_is_never_writable_and_executable() -> None:
    address = elf.load(compiled(SOURCE, "k").data, ["k"])["k"]
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, mode, *_ = line.split()
        start, stop = (int(part, 16) for part in span.split("-"))
        if start <= address < stop:
            found.append(mode)
    assert found == ["r-xp"]


def test_blocks_are_reached_at_any_distance() -> None:
    made = compiled(MATMUL_SOURCE.format(t="f32"), "matmul")
    asked: list[str] = []

    def resolve(symbol: str, at: target.Target) -> int:
        asked.append(symbol)
        return native.block_address(symbol, at)

    function = PROTOTYPE(objects.load(made, resolve)["matmul"])
    a, b = (np.random.default_rng(0).normal(size=shape).astype(np.float32) for shape in ((5, 7), (7, 9)))
    c, work = np.zeros((5, 9), np.float32), np.zeros(7 * 64, np.float32)
    call(function, [a, b, c, work, 5, 9, 7, 7, 1, 9, 1, 9])
    np.testing.assert_allclose(c, a @ b, rtol=1e-5)
    assert sorted(asked) == sorted(made.needs)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_objects_are_loaded_or_refused(seed: int) -> None:
    """Nothing else: no crash, no other error, whatever the bytes (the digest of a cached file is checked before)."""
    data, rng = compiled(SOURCE, "k").data, random.Random(seed)
    refused = 0
    for _ in range(400):
        damaged = bytearray(data[: rng.choice((len(data), len(data), rng.randrange(len(data))))])
        for _ in range(rng.randrange(1, 4)):
            if damaged:
                at = rng.randrange(len(damaged))
                damaged[at] = rng.choice((0, 1, 127, 128, 255, damaged[at] ^ 1 << rng.randrange(8)))
        try:
            elf.load(bytes(damaged), ["k"])
        except elf.NotLoadable:
            refused += 1
    assert refused > 100


def changed(at: int, form: str, value: int) -> bytes:
    data = bytearray(compiled(SOURCE, "k").data)
    struct.pack_into(form, data, at, value)
    return bytes(data)


def header_of(kind: int) -> int:
    """Where the header of the first section of a kind stands."""
    data = compiled(SOURCE, "k").data
    (table,), (count,) = struct.unpack_from("<Q", data, 40), struct.unpack_from("<H", data, 60)
    return next(table + 64 * i for i in range(count) if struct.unpack_from("<I", data, table + 64 * i + 4)[0] == kind)


def test_what_is_not_known_is_named_and_left_to_llvm() -> None:
    first = struct.unpack_from("<Q", compiled(SOURCE, "k").data, header_of(4) + 24)[0]
    for data, message in [
        (changed(18, "<H", 183), "not a relocatable"),
        (changed(first + 8, "<I", 10), "relocation of kind 10"),
        (changed(header_of(1) + 8, "<Q", 0x407), "flags 0x407"),
        (changed(header_of(1) + 48, "<Q", 1 << 40), "alignment"),
        (b"", "malformed"),
    ]:
        with pytest.raises(elf.NotLoadable, match=message):
            elf.load(data, ["k"])
    with pytest.raises(elf.NotLoadable, match="no entries \\['other'\\]"):
        elf.load(compiled(SOURCE, "k").data, ["other"])
    with pytest.raises(elf.NotLoadable, match="no library has the function gk_none"):
        elf.c_function("gk_none")


def test_llvm_loads_what_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elf, "_R_PLT32", 99)
    made = compiled(SOURCE, "k")
    with pytest.raises(elf.NotLoadable, match="kind 4 to 'exp'|kind 4 to 'sin'"):
        elf.load(made.data, made.entries)
    np.testing.assert_array_equal(run(native.load(made)), run(objects.load_by_llvm(made, {})))


def test_what_llvm_says_of_this_machine_is_kept(place: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = target._ask_llvm()
    target._host.cache_clear()
    assert not target.host_is_known() and target._host() == asked and target.host_is_known()
    monkeypatch.setattr(target, "_ask_llvm", lambda: ("another", "", ""))
    target._host.cache_clear()
    assert target.host_is_known() and target._host() == asked
    (path,) = cache.directory().glob("*.host")
    path.write_bytes(path.read_bytes()[:-1])                    # damaged: asked again
    target._host.cache_clear()
    assert target._host() == ("another", "", "")
    monkeypatch.setattr(target, "_machine_text", lambda: "another machine")
    monkeypatch.setattr(target, "_ask_llvm", lambda: asked)
    target._host.cache_clear()
    assert target._host() == asked and len(list(cache.directory().glob("*.host"))) == 2
    monkeypatch.setenv("GRAPHK_CACHE_DIR", "/dev/null/nowhere")
    target._host.cache_clear()
    with pytest.warns(cache.CacheWarning, match="cannot be used"):
        assert not target.host_is_known() and target._host() == asked


def test_versions_are_read_without_importing() -> None:
    import llvmlite
    import numba

    assert "absent" not in versions.tools()
    assert versions._package("gk_no_such_package") == "absent"
    for package in (numba, llvmlite):
        text = (Path(package.__file__).parent / "_version.py").read_text()
        assert package.__version__ in text


def test_c_functions_are_those_that_python_calls() -> None:
    sine = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(elf.c_function("sin"))
    assert sine(0.5) == np.sin(0.5)
