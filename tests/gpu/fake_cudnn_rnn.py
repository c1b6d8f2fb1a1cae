"""cuDNN's functions for recurrent layers in Python, for `CudnnRecurrent` on machines without a GPU.

In: the calls that graphk makes, with the C types of cudnn_adv.h.  Out: a status, as it answers.  Layers are computed by
the formulas of cuDNN's documentation, sample after sample, on a fake driver's memory, when what was captured is
replayed, their gradients by `graphk.ir.ops.recurrent`, which central differences test.  What a real one leaves
undefined (descriptors that contradict each other or the sizes of memory, lengths that are not there, the way back
without the way there) is an error.
"""
import ctypes

import numpy as np

from graphk.ir.ops.recurrent import backward, forward
from tests.gpu.fake_cudnn import BAD_PARAM, OK, FakeCudnn

CELLS = {0: "relu", 1: "tanh", 2: "lstm", 3: "gru"}
GATES = {"relu": 1, "tanh": 1, "lstm": 4, "gru": 3}
ROOM, KEPT, MAGIC = 1000, 3000, 0x5EED      # bytes; what the way there leaves


class FakeCudnnRnn(FakeCudnn):
    """`moved`: where it says that weights lie is off by so many bytes; `ways`: calls that were replayed."""

    def __init__(self, driver):
        super().__init__(driver)
        self.moved, self.ways, self.math, self.saved = 0, [], [], {}

    # descriptors
    def _new(self, kind, out):
        self.numbers += 1
        self.alive[self.numbers] = {"kind": kind, "finished": False}
        out._obj.value = self.numbers
        return OK

    def cudnnCreateDropoutDescriptor(self, out):
        return self._new("dropout", out)

    def cudnnSetDropoutDescriptor(self, what, handle, rate, states, size, seed):
        assert self.alive[handle.value]["kind"] == "handle"
        assert (type(rate), type(size), type(seed)) == (ctypes.c_float, ctypes.c_size_t, ctypes.c_ulonglong)
        assert rate.value == 0 and states is None and size.value == 0
        self.alive[what.value]["finished"] = True
        return OK

    def cudnnCreateRNNDescriptor(self, out):
        return self._new("layer", out)

    def cudnnDestroyRNNDescriptor(self, what):
        del self.alive[what.value]
        return OK

    def cudnnSetRNNDescriptor_v8(self, what, algorithm, mode, bias, direction, feed, dtype, precision, math, features,
                                 units, projected, layers, dropout, flags):
        assert type(flags) is ctypes.c_uint32 and self.alive[dropout.value]["finished"]
        assert (algorithm, direction, feed, dtype, precision, layers, flags.value) == (0, 0, 0, 0, 0, 1, 0)
        if self.refuse or projected != units or math not in (0, 1, 3) or bias not in (0, 1, 2):
            return BAD_PARAM
        self.math.append(math)
        self.alive[what.value].update(finished=True, cell=CELLS[mode], biases=bias, features=features, units=units)
        return OK

    def cudnnCreateRNNDataDescriptor(self, out):
        return self._new("sequences", out)

    def cudnnSetRNNDataDescriptor(self, what, dtype, layout, time, samples, width, lengths, padding):
        assert (dtype, layout, padding) == (0, 1, None) and lengths._type_ is ctypes.c_int
        assert self.driver.capturing is None, "made while a stream is captured"
        if min(time, samples, width) < 1 or list(lengths) != [time] * samples:
            return BAD_PARAM
        self.alive[what.value].update(finished=True, extents=(time, samples, width))
        return OK

    def cudnnCreateTensorDescriptor(self, out):
        return self._new("states", out)

    def cudnnDestroyTensorDescriptor(self, what):
        del self.alive[what.value]
        return OK

    def cudnnSetTensorNdDescriptor(self, what, dtype, rank, extents, strides):
        assert dtype == 0 and rank == len(extents) == len(strides) == 3 and extents._type_ is ctypes.c_int
        self.alive[what.value].update(finished=True, extents=tuple(extents), strides=tuple(strides))
        return OK

    def cudnnGetTensorNdDescriptor(self, what, room, dtype, rank, extents, strides):
        d = self.alive[what.value]
        dtype._obj.value, rank._obj.value = 0, 3
        extents[:], strides[:] = d["extents"], d["strides"]
        return OK

    # weights and memory
    def _weights(self, d):
        """(offset in numbers, rows, columns) of each matrix, then of each bias, and how many numbers there are."""
        gates, u, at, matrices, biases = GATES[d["cell"]], d["units"], 0, [], []
        for columns in (d["features"], u):
            for _ in range(gates):
                matrices.append((at, u, columns))
                at += u * columns
        for _ in range(gates * d["biases"]):
            biases.append((at, u, 1))
            at += u
        return matrices, biases, at

    def cudnnGetRNNWeightSpaceSize(self, handle, layer, size):
        assert type(size._obj) is ctypes.c_size_t
        size._obj.value = 4 * self._weights(self.alive[layer.value])[2]
        return OK

    def cudnnGetRNNWeightParams(self, handle, layer, pseudo, size, weights, number, matrix, matrix_at, bias, bias_at):
        d = self.alive[layer.value]
        assert [type(x) for x in (pseudo, size, number)] == [ctypes.c_int32, ctypes.c_size_t, ctypes.c_int32]
        matrices, biases, whole = self._weights(d)
        assert (pseudo.value, size.value) == (0, 4 * whole) and weights.value
        for places, descriptor, at in ((matrices, matrix, matrix_at), (biases, bias, bias_at)):
            if number.value >= len(places):
                at._obj.value = None
                continue
            start, rows, columns = places[number.value]
            at._obj.value = weights.value + 4 * start + self.moved
            self.alive[descriptor.value].update(extents=(1, rows, columns), strides=(rows * columns, columns, 1))
        return OK

    def cudnnGetRNNTempSpaceSizes(self, handle, layer, mode, x, room, kept):
        d, (time, samples, width) = self.alive[layer.value], self.alive[x.value]["extents"]
        assert width == d["features"] and type(room._obj) is type(kept._obj) is ctypes.c_size_t
        room._obj.value, kept._obj.value = ROOM + time, (KEPT + samples) * mode
        return OK

    # calls
    def _memory(self, address, *shape, dtype="float32"):
        flat, size = self.driver.sim.view(address.value, dtype), int(np.prod(shape))
        assert len(flat) >= size, f"{shape} ends beyond its memory"
        return flat[:size].reshape(shape)

    def _checked(self, handle, layer, lengths, sequences, states, sizes, mode):
        """What descriptors say, after it was compared with each other and with the sizes of memory."""
        assert self.alive[handle.value]["kind"] == "handle"
        d = self.alive[layer.value]
        (time, samples, width), y = (self.alive[s.value]["extents"] for s in sequences)
        assert d["kind"] == "layer" and d["finished"] and width == d["features"] and y == (time, samples, d["units"])
        for s in states:
            assert self.alive[s.value]["extents"] == (1, samples, d["units"])
        weights, room, kept = sizes
        assert all(type(s) is ctypes.c_size_t for s in sizes) and weights.value == 4 * self._weights(d)[2]
        assert (room.value, kept.value) == (ROOM + time, (KEPT + samples) * mode)
        assert type(lengths) is ctypes.c_void_p and lengths.value
        return d, time, samples

    def cudnnRNNForward(self, handle, layer, mode, lengths, x_of, x, y_of, y, h_of, hx, hy, c_of, cx, cy, weight_size,
                        weights, room_size, room, kept_size, kept):
        d, time, samples = self._checked(handle, layer, lengths, (x_of, y_of), (h_of, c_of),
                                         (weight_size, room_size, kept_size), mode)
        assert bool(kept.value) == bool(mode) and bool(cx.value) == bool(cy.value) == (d["cell"] == "lstm")

        def run():
            assert (self._memory(lengths, samples, dtype="int32") == time).all()
            first = [self._memory(a, samples, d["units"]).copy() for a in (hx, cx) if a.value]
            inputs, flat = (a.copy() for a in (self._memory(x, time, samples, d["features"]),
                                               self._memory(weights, weight_size.value // 4)))
            before = [a.copy() for a in first]
            outputs, last = self._layer(d, inputs, flat, first)
            self._memory(y, *outputs.shape)[...] = outputs
            for a, value in zip((hy, cy), last):
                self._memory(a, samples, d["units"])[...] = value
            self._memory(room, room_size.value, dtype="uint8")[...] = 0xEE
            if mode:
                self._memory(kept, kept_size.value // 4, dtype="int32")[...] = MAGIC
                self.saved[kept.value] = inputs, flat, before
            self.ways.append("training" if mode else "forward")
        self.driver._capture(self.stream, run)
        return OK

    def _layer(self, d, x, w, states):
        """All outputs and the last states, a sample at a time."""
        matrices, biases, _ = self._weights(d)
        gates = GATES[d["cell"]]
        of = [w[at:at + r * c].reshape(r, c) for at, r, c in matrices]
        b = [w[at:at + r] for at, r, _ in biases] + [np.zeros(d["units"], "f")] * 2 * gates

        def sigmoid(v):
            return 1 / (1 + np.exp(-v))
        outputs = np.empty((*x.shape[:2], d["units"]), "f")
        for n in range(x.shape[1]):
            h = states[0][n]
            for t in range(len(x)):
                wx = [of[k] @ x[t, n] + b[k] for k in range(gates)]
                rh = [of[gates + k] @ h + b[gates + k] for k in range(gates)]
                if d["cell"] == "lstm":
                    i, f, new, o = (fn(p + q) for fn, p, q in zip((sigmoid, sigmoid, np.tanh, sigmoid), wx, rh))
                    states[1][n] = f * states[1][n] + i * new
                    h = o * np.tanh(states[1][n])
                elif d["cell"] == "gru":
                    r, i = sigmoid(wx[0] + rh[0]), sigmoid(wx[1] + rh[1])
                    h = (1 - i) * np.tanh(wx[2] + r * rh[2]) + i * h
                else:
                    h = np.tanh(wx[0] + rh[0]) if d["cell"] == "tanh" else np.maximum(wx[0] + rh[0], 0)
                outputs[t, n] = h
            states[0][n] = h
        return outputs, states

    def cudnnRNNBackwardData_v8(self, handle, layer, lengths, y_of, y, dy, x_of, dx, h_of, hx, dhy, dhx, c_of, cx, dcy,
                                dcx, weight_size, weights, room_size, room, kept_size, kept):
        d, time, samples = self._checked(handle, layer, lengths, (x_of, y_of), (h_of, c_of),
                                         (weight_size, room_size, kept_size), 1)
        assert {bool(a.value) for a in (cx, dcy, dcx)} == {d["cell"] == "lstm"}

        def run():
            self._step(kept, kept_size, MAGIC)
            x, w, first = self.saved[kept.value]
            for a, value in zip((hx, cx), first):
                np.testing.assert_array_equal(self._memory(a, *value.shape), value)
            np.testing.assert_array_equal(self._memory(weights, len(w)), w)
            outputs, _, saved = forward(d["cell"], d["biases"], x, w, first)
            np.testing.assert_allclose(self._memory(y, *outputs.shape), outputs, rtol=1e-4, atol=1e-5)
            last = [self._memory(a, samples, d["units"]) for a in (dhy, dcy) if a.value]
            made, gradient, firsts = backward(d["cell"], d["biases"], x, w, outputs, first, saved,
                                              self._memory(dy, *outputs.shape), last)
            self._memory(dx, *made.shape)[...] = made
            for a, value in zip((dhx, dcx), firsts):
                self._memory(a, samples, d["units"])[...] = value
            self.saved[kept.value] = x, first[0], outputs, gradient
            self._memory(room, room_size.value, dtype="uint8")[...] = 0xEE
            self.ways.append("data")
        self.driver._capture(self.stream, run)
        return OK

    def cudnnRNNBackwardWeights_v8(self, handle, layer, add, lengths, x_of, x, h_of, hx, y_of, y, weight_size, dw,
                                   room_size, room, kept_size, kept):
        self._checked(handle, layer, lengths, (x_of, y_of), (h_of,), (weight_size, room_size, kept_size), 1)
        assert add == 0

        def run():
            self._step(kept, kept_size, MAGIC + 1)
            *read, gradient = self.saved.pop(kept.value)
            for a, value in zip((x, hx, y), read):
                np.testing.assert_allclose(self._memory(a, *value.shape), value, rtol=1e-4, atol=1e-5)
            self._memory(dw, len(gradient))[...] += gradient
            self.ways.append("weights")
        self.driver._capture(self.stream, run)
        return OK

    def _step(self, kept, size, mark):
        """What was kept is as the step before left it; then it is as this one leaves it."""
        memory = self._memory(kept, size.value // 4, dtype="int32")
        assert (memory == mark).all(), "not behind the step before it, or something else wrote to its memory"
        memory[...] = mark + 1


def installed(driver, device, workspace=512):
    """A device's library of convolutions and recurrent layers, on a fake cuDNN."""
    from graphk.runtime.device import LANES
    from graphk.runtime.library import Convolution
    from graphk.runtime.library_cudnn import Cudnn
    from graphk.runtime.library_cudnn_rnn import CudnnRecurrent
    fake = FakeCudnnRnn(driver)
    cudnn = Cudnn(fake, device.allocate(LANES * workspace), workspace)
    fake.library = device.libraries[Convolution] = cudnn
    device.recurrent = CudnnRecurrent(cudnn)
    return fake
