"""`graphk export`: the C example, compiled and run, beside `predict`; other processors; what is refused."""
import shutil
import subprocess

import numpy as np
import pytest

from graphk import backend as K
from graphk.inspection import export
from graphk.inspection.cli import main
from graphk.layers import (GRU, LSTM, BatchNormalization, Bidirectional, Conv2D, Dense, Embedding, Flatten, Input,
                           Lambda, MaxPooling2D, add)
from graphk.models import Model, Sequential

NEEDS_CC = pytest.mark.skipif(shutil.which("cc") is None, reason="linking takes a C compiler (cc)")


def dense():
    return Sequential([Dense(33, activation="relu", input_shape=(16,)), Dense(10, activation="softmax")])


def convolutions():
    """Winograd's way, with weights packed when the library is opened; constants; pooling."""
    return Sequential([Conv2D(32, 3, padding="same", activation="relu", input_shape=(20, 20, 3)),
                       Conv2D(32, 3, activation="relu"), BatchNormalization(), MaxPooling2D(), Flatten(), Dense(3)])


def recurrent():
    return Sequential([Embedding(9, 8, input_length=7), LSTM(16, return_sequences=True), Bidirectional(GRU(8)),
                       Dense(3)])


def two_ends():
    a, b = Input((4,), name="left"), Input((4,), name="int")
    both = add([Dense(4)(a), b])
    return Model([a, b], [Dense(2, name="first")(both), Lambda(lambda t: K.argmax(t, axis=-1), name="double")(both)])


def names_of_c():
    """Inputs and outputs that are called like each other, like what C has and like what the driver has."""
    a, b, c, d = ends = [Input((2,), name=name) for name in ("argc", "t-1", "t1", "stdin")]
    return Model(ends, [Dense(3, name="o-1")(add([a, b, c, d])), Dense(2, name="o_1")(b), Dense(1, name="run_0")(c),
                        Dense(1, name="NULL")(d), Dense(1, name="net")(a)])


def open_length():
    return Sequential([LSTM(5, input_shape=(None, 3))])


def run_example(folder, name, arrays):
    """The raw outputs of the example, compiled as its own text says."""
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "example.c", "-L.", f"-l{name}", "-Wl,-rpath,$ORIGIN", "-o",
                    "example"], cwd=folder, check=True)
    return subprocess.run([str(folder / "example")], cwd=folder, check=True, capture_output=True,
                          input=b"".join(a.tobytes() for a in arrays), timeout=60).stdout


def inputs_for(model, batch, steps=16):
    rng = np.random.default_rng(0)
    shapes = model.input_shape if isinstance(model.input_shape, list) else [model.input_shape]
    shapes = [(batch, *(d or steps for d in s[1:])) for s in shapes]
    if isinstance(model.layers[0], Embedding):
        return [rng.integers(0, 9, s).astype(model.inputs[0].dtype) for s in shapes]
    return [rng.standard_normal(s).astype("float32") for s in shapes]


@NEEDS_CC
@pytest.mark.parametrize("make, batch", [(dense, 1), (dense, 5), (convolutions, 2), (recurrent, 3), (two_ends, 2),
                                         (open_length, 4), (names_of_c, 2)])
def test_the_example_computes_what_predict_does(make, batch, tmp_path):
    model = make()
    for layer in model.layers:                                        # no weight stays at 0 or 1
        layer.set_weights([w + np.float32(0.1) for w in layer.get_weights()])
    arrays = inputs_for(model, batch)
    export(model, tmp_path / "net", name="net", batches=[batch, batch + 1])
    out = run_example(tmp_path / "net", "net", arrays)
    want = model.predict_on_batch(arrays if len(arrays) > 1 else arrays[0])
    want = want if isinstance(want, list) else [want]
    assert len(out) == sum(w.nbytes for w in want)
    for w in want:
        got, out = np.frombuffer(out[:w.nbytes], w.dtype).reshape(w.shape), out[w.nbytes:]
        np.testing.assert_allclose(got, w, rtol=1e-5, atol=1e-6)


@NEEDS_CC
def test_the_example_says_how_it_is_used(tmp_path):
    export(dense(), tmp_path / "net", name="net")
    with pytest.raises(subprocess.CalledProcessError) as short:
        run_example(tmp_path / "net", "net", [])
    assert short.value.returncode == 3 and b"standard input ended before its" in short.value.stderr
    done = subprocess.run([str(tmp_path / "net" / "example"), "inputs.bin"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "usage: " in done.stderr and "inputs.bin: unexpected" in done.stderr


MAIN = """
#include "net.h"
#include <stdio.h>
int main(void) {
  net *one = net_open(), *other = net_open();
  float x[12] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, y[2];
  for (int i = 0; i < 3; i++) {
    if (net_predict(one, 2, x, y)) return 1;
    printf("%.6f\\n", y[0]);
  }
  if (net_predict(other, 2, x, y)) return 1;
  printf("%.6f\\n", y[0]);
  net_close(one); net_close(other); net_close(0);
  return net_predict(other ? 0 : one, 3, x, y) == -1 ? 0 : 2;
}
"""


@NEEDS_CC
def test_states_last_from_call_to_call_and_belong_to_one_network(tmp_path):
    model = Sequential([LSTM(1, stateful=True, batch_input_shape=(2, 2, 3))])
    folder = tmp_path / "net"
    with pytest.raises(ValueError, match="batch size is fixed"):
        export(model, folder, name="net", batches=[3])
    export(model, folder, name="net", batches=[2])
    (folder / "main.c").write_text(MAIN)
    subprocess.run(["cc", "main.c", "-L.", "-lnet", "-Wl,-rpath,$ORIGIN", "-o", "main"], cwd=folder, check=True)
    lines = subprocess.run([str(folder / "main")], check=True, capture_output=True, text=True).stdout.split()
    x = np.ones((2, 2, 3), "float32")
    want = [float(model.predict_on_batch(x)[0, 0]) for _ in range(3)]
    np.testing.assert_allclose([float(v) for v in lines], [*want, want[0]], atol=2e-6)
    assert want[0] != want[1]


@NEEDS_CC
@pytest.mark.parametrize("cpu", ["scalar", "sse", "x86-64-v3", "haswell"])
def test_other_processors(cpu, tmp_path):
    from graphk.codegen.other_cpu import cpu_target
    from graphk.codegen.target import host_target
    if "x86_64" not in host_target().triple:
        pytest.skip("names of x86 processors")
    model = dense()
    assert cpu_target(cpu).lanes == {"scalar": 1, "sse": 4}.get(cpu, 8)
    export(model, tmp_path / "net", name="net", cpu=cpu)
    x = inputs_for(model, 1)
    got = np.frombuffer(run_example(tmp_path / "net", "net", x), "float32")
    np.testing.assert_allclose(got.reshape(1, 10), model.predict_on_batch(x[0]), rtol=1e-5, atol=1e-6)


def test_another_machine_gets_objects_and_sources(tmp_path):
    made = export(dense(), tmp_path / "net", name="net", triple="aarch64-linux-gnu")
    assert made.endswith("net.c") and not list((tmp_path / "net").glob("*.so"))
    objects = list((tmp_path / "net").glob("*.o"))
    assert objects and all(o.read_bytes()[:5] == b"\x7fELF\x02" and o.read_bytes()[18] == 183 for o in objects)


@pytest.mark.parametrize("options, message", [
    ({"cpu": "i8080"}, "LLVM knows no processor 'i8080' of x86-64; expected one of host, scalar"),
    ({"triple": "pdp11-dec"}, "unknown triple 'pdp11-dec'"),
    ({"dims": {"q": 3}}, "the model has no size q; it has n"),
    ({"compiler": "no-such-compiler"}, "the C compiler no-such-compiler cannot be started"),
    ({"compiler": "false"}, "`false -O2 .* failed")])
def test_what_is_refused_leaves_nothing(options, message, tmp_path):
    with pytest.raises((ValueError, RuntimeError), match=message):
        export(dense(), tmp_path / "net", **options)
    assert not list(tmp_path.iterdir())


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dense().save("digits-1.h5")
    assert main(["export", "digits-1.h5", "-o", "out", "--batch", "1,8", "--cc", ""]) == 0
    assert capsys.readouterr().out == "out/digits_1.c\n"
    header = (tmp_path / "out" / "digits_1.h").read_text()
    assert "batch 8: " in header and "int digits_1_predict(digits_1 *m, int64_t batch, const float *" in header
    assert main(["export", "digits-1.h5", "-o", "out"]) == 2
    assert "out exists; name a folder that does not" in capsys.readouterr().err
    assert main(["export", "digits-1.h5", "-o", "two", "--batch", "0"]) == 2
    assert "--batch '0': expected numbers of samples" in capsys.readouterr().err
