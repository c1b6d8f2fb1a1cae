"""Layout, memory plan, instruction counts: the parts that the page is made of."""
import subprocess
import sys

import numpy as np
import pytest

from graphk import backend as K
from graphk.inspection import arena
from graphk.inspection.facts import human, kernel_of_nodes, size_of, step_rows, twins
from graphk.inspection.layout import layered
from graphk.inspection.listing import count
from graphk.inspection.subjects import dims_for, subjects_of, without_folders


@pytest.mark.parametrize("seed", range(6))
def test_layout_goes_down_and_never_overlaps(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    edges = [(int(rng.integers(0, b)), b) for b in range(1, n) for _ in range(int(rng.integers(0, 4)))]
    sizes = {i: (float(rng.integers(20, 200)), float(rng.integers(20, 90))) for i in range(n)}
    out = layered(sizes, edges, light={0, 1})
    for a, b in edges:
        assert out.at[a][1] + sizes[a][1] / 2 < out.at[b][1] - sizes[b][1] / 2
        path = out.paths[a, b]
        assert path[0] == out.at[a] and path[-1] == out.at[b]
        assert all(p[1] < q[1] for p, q in zip(path, path[1:]))
    rows = {}
    for k, (x, y) in out.at.items():
        assert -1e-6 <= x - sizes[k][0] / 2 and x + sizes[k][0] / 2 <= out.width + 1e-6
        rows.setdefault(y, []).append((x - sizes[k][0] / 2, x + sizes[k][0] / 2))
    for row in rows.values():
        row.sort()
        assert all(left[1] <= right[0] for left, right in zip(row, row[1:]))


def test_layout_is_repeatable_and_rejects_cycles():
    sizes = dict.fromkeys("abcd", (50.0, 30.0))
    edges = [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]
    assert layered(sizes, edges) == layered(sizes, edges)
    with pytest.raises(ValueError, match="cycle"):
        layered(sizes, [*edges, ("d", "a")])
    assert layered({}, []).at == {}


def test_arena_slots_hold_their_buffers_one_after_the_other(model):
    for s in subjects_of(model):
        for batch in (1, 9, 64):
            plan = arena.plan(s.program, dims_for(s.program, batch))
            assert max(x.offset + x.bytes for x in plan.slots) <= plan.bytes <= plan.unshared
            assert plan.saved == plan.unshared - plan.bytes and plan.peak <= plan.bytes
            for slot in plan.slots:
                assert all(x.bytes <= slot.bytes for x in slot.lives)
                assert all(a.last <= b.first for a, b in zip(slot.lives, slot.lives[1:]))


def test_step_rows_follow_the_batch(model):
    s = subjects_of(model)[2]
    one, many = (step_rows(s.program, dims_for(s.program, b)) for b in (10, 20))
    assert [r.step for r in one] == [r.step for r in many]
    assert sum(r.operations for r in many) > 1.5 * sum(r.operations for r in one)


def test_loops_count_their_trips():
    x = K.placeholder(shape=(None, 12, 3))
    start = K.placeholder(shape=(None, 3))
    f = K.function([x, start], [K.rnn(lambda i, s: (i + s[0], [i + s[0]]), x, [start])[1]])
    (s,) = subjects_of(f)
    rows = step_rows(s.program, dims_for(s.program, 4))
    assert any(r.times == 12 and r.loop == "12 times" for r in rows)
    assert size_of(s.captured) > 3


def test_nodes_find_their_kernels(model):
    for s in subjects_of(model):
        found = kernel_of_nodes(s)
        assert found and all(k in s.executable.kernels for k in found.values())
        dots = [(n, k) for n, k in found.items() if n.op.name == "dot"]
        assert dots and all("dot" in k.label for _, k in dots)
        captured = [n for n in s.captured.nodes() if n.op.name == "dot"]
        assert all("dot" in found[n].label for n in captured), "rebuilt nodes are followed"
        pairs = twins(s)
        assert pairs and all(a.op is b.op and a.type == b.type and a is not b for a, b in pairs.items())


def test_instructions_are_counted():
    asm = "\n".join(["k_0:", "\t.text", "\tvfmadd231ps\t(%rax), %zmm1, %zmm2", "\tvaddss\t%xmm0, %xmm1, %xmm1",
                     "\tvmovups\t%ymm0, (%rdi)", "\taddq\t$4, %rcx", "\tvmulps\t%xmm1, %xmm2, %xmm3",
                     "\tvfmadd213ss\t%xmm1, "
                     "%xmm2, %xmm3", "\tretq"])
    c = count(asm)
    assert (c.total, c.vector, c.scalar, c.fma) == (7, 3, 2, 2)
    assert c.widths == {"zmm": 1, "ymm": 1, "xmm": 1}
    assert "1 zmm" in str(c)


def test_texts_lose_folders():
    text = "layer a, /home/someone/My-Code/train.py:12, rule x"
    assert without_folders(text) == "layer a, train.py:12, rule x"
    assert without_folders("p0[i/2]: f32 in") == "p0[i/2]: f32 in"


def test_numbers_are_short():
    assert [human(x) for x in (5, 1234, 2.5e6, 7e9)] == ["5", "1.23 k", "2.5 M", "7 G"]
    assert human(2048, "B") == "2.05 kB"


def test_commands_about_files_are_functions_too(tmp_path, capsys, monkeypatch):
    """They answer by what they return or raise, and never end the process."""
    from graphk import inspection
    from graphk.layers import Dense
    from graphk.models import Sequential
    model = Sequential([Dense(2, input_shape=(3,), name="d")])
    model.compile("sgd", "mse")
    file = tmp_path / "m.h5"
    model.save(str(file))
    assert inspection.check(file) and "graphk reads this file" in capsys.readouterr().out
    assert not inspection.check(tmp_path / "none.h5")
    inspection.convert(file, tmp_path / "m.json")
    with pytest.raises(ValueError, match="format `.xyz` is not known"):
        inspection.convert(file, tmp_path / "m.xyz")
    with pytest.raises(ValueError, match="none.h5: "):
        inspection.convert(tmp_path / "none.h5", tmp_path / "m.json")
    monkeypatch.setenv("GRAPHK_CACHE_DIR", str(tmp_path / "cache"))
    assert "0 compiled kernels" in inspection.cache() and inspection.cache(clear=True).startswith("removed 0 files")
    assert [len(f(model, phase="train")) for f in (inspection.cost, inspection.profile)] == [1, 1]
    inspection.dump(model, tmp_path / "d", ["text"], kernels=False, phase="test")
    assert len([p for p in (tmp_path / "d").iterdir() if p.is_dir()]) == 1
    with pytest.raises(ValueError, match="there is no graph of the phase 'tset'"):
        inspection.report(model, tmp_path / "r.html", phase="tset")


def test_a_script_runs_as_a_function(tmp_path):
    script = tmp_path / "s.py"
    script.write_text("import sys, keras\nopen(sys.argv[1], 'w').write(keras.backend.backend())\n")
    code = f"from graphk import inspection; inspection.run({str(script)!r}, {str(tmp_path / 'out')!r})"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "out").read_text()
