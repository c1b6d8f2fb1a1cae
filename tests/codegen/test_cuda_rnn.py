"""What the real cuDNN says of descriptors of recurrent layers: it takes those that graphk makes, and reads them back.

It needs no GPU for that; calls do (`make test-gpu`).
"""
import os
import subprocess
import sys
from pathlib import Path

import pytest

from graphk.runtime.library import find_library

CHECK = """
import ctypes, itertools
from graphk.ir.ops.recurrent import Form
from graphk.runtime.library import Refused, find_library
from graphk.runtime.library_cudnn import Cudnn
from graphk.runtime.library_cudnn_rnn import BIASES, MODES, CudnnRecurrent
cudnn = Cudnn.__new__(Cudnn)
cudnn.functions, cudnn.handle = find_library("cudnn"), ctypes.c_void_p()
cudnn.functions.cudnnGetErrorString.restype = ctypes.c_char_p


class Unset(CudnnRecurrent):
    def _make(self, kind, *arguments):           # a rate of dropout takes a handle, and that a GPU
        if kind != "Dropout":
            return super()._make(kind, *arguments)
        out = ctypes.c_void_p()
        self.cudnn.check("cudnnCreateDropoutDescriptor", ctypes.byref(out))
        return out


made, count = Unset(cudnn), 0
for cell, biases, tf32, (f, u) in itertools.product(MODES, BIASES, (False, True), ((1, 1), (3, 4), (64, 128))):
    layer = made.layer(Form(cell, f, u, biases), tf32)
    read, dropout, flags = [ctypes.c_int32(-1) for _ in range(12)], ctypes.c_void_p(), ctypes.c_uint32(9)
    cudnn.check("cudnnGetRNNDescriptor_v8", layer, *map(ctypes.byref, read), ctypes.byref(dropout),
                ctypes.byref(flags))
    assert [x.value for x in read] == [0, MODES[cell], biases, 0, 0, 0, 0, 0 if tf32 else 3, f, u, u, 1], read
    assert dropout.value and flags.value == 0
    count += 1
for time, samples, width in ((1, 1, 1), (5, 3, 7), (100, 33, 256)):
    read = [ctypes.c_int(-1) for _ in range(5)]
    lengths, padding = (ctypes.c_int * samples)(), ctypes.c_float()
    cudnn.check("cudnnGetRNNDataDescriptor", made.sequences(time, samples, width), *map(ctypes.byref, read), samples,
                lengths, ctypes.byref(padding))
    assert [x.value for x in read] == [0, 1, time, samples, width] and list(lengths) == [time] * samples
    assert made._extents_of(made.states(samples, width)) == (samples, width)
    count += 1
try:
    made.sequences(0, 3, 7)
except Refused as e:
    print(count, e)
"""


@pytest.mark.skipif(find_library("cudnn") is None, reason="cuDNN is not installed: pip install graphk[cudnn]")
def test_the_real_cudnn_takes_every_layer():
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, timeout=200, env=env)
    assert run.stdout == "75 cudnnSetRNNDataDescriptor: CUDNN_STATUS_BAD_PARAM\n", run.stdout + run.stderr
