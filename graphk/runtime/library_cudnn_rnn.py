"""Recurrent layers by cuDNN, through its functions for them.

In: a `Recurrent` and addresses.  Out: what calls cuDNN on a stream.  What always holds: the standard algorithm, without
tensor cores for float32 unless tf32 is allowed; cuDNN's own word on where each gate's matrices and biases lie in its
weights is compared with where graphk puts them before a layer is given to it; descriptors are made before a recording
begins, and memory is the caller's.

Numbers of enumerators are those of cudnn_adv.h and cudnn_graph.h of cuDNN 9.
"""
from __future__ import annotations

import ctypes
from typing import Any, Sequence

from graphk.ir.ops.recurrent import GATES, STATES, Form
from graphk.runtime.device import DeviceError
from graphk.runtime.library import Refused, Run
from graphk.runtime.library_cudnn import Cudnn
from graphk.runtime.library_rnn import Addresses, Needs, Recurrent, RecurrentLibrary

MODES = {"relu": 0, "tanh": 1, "lstm": 2, "gru": 3}                    # cudnnRNNMode_t
BIASES = (0, 1, 2)                # cudnnRNNBiasMode_t: none, one for inputs, two
STANDARD, UNIDIRECTIONAL, LINEAR_INPUT, FLOAT, SEQUENCES_PACKED, PADDED_IO_DISABLED = 0, 0, 0, 0, 1, 0
DEFAULT_MATH, FMA_MATH = 0, 3                                          # cudnnMathType_t
INFERENCE, TRAINING = 0, 1                                             # cudnnForwardMode_t
ADD = 0                                                                # cudnnWgradMode_t


class CudnnRecurrent(RecurrentLibrary):
    """cuDNN's recurrent layers on one device, by a `Cudnn` of it."""
    name = "cuDNN"

    def __init__(self, cudnn: Cudnn):
        self.cudnn, self.functions = cudnn, cudnn.functions
        self._layers: dict[tuple[Form, bool], Any] = {}
        self._extents: dict[tuple[int, ...], Any] = {}
        self._needs: dict[Recurrent, Needs] = {}

    def _try(self, name: str, *arguments: Any) -> None:
        """Call a function; `Refused` says what it answers if it fails."""
        status = getattr(self.functions, name)(*arguments)
        if status:
            raise Refused(f"{name}: {self.cudnn.word(status)}")

    # -------------------------------------------------------------- descriptors
    def _make(self, kind: str, *arguments: Any) -> Any:
        """A descriptor of a kind, set to `arguments`; `Refused` where cuDNN does not support what they say."""
        out = ctypes.c_void_p()
        self._try(f"cudnnCreate{kind}Descriptor", ctypes.byref(out))
        name = {"RNN": "cudnnSetRNNDescriptor_v8", "Tensor": "cudnnSetTensorNdDescriptor"}.get(
            kind, f"cudnnSet{kind}Descriptor")
        try:
            self._try(name, out, *arguments)
        except Refused:
            self.cudnn.check(f"cudnnDestroy{kind}Descriptor", out)
            raise
        return out

    def layer(self, form: Form, tf32: bool) -> Any:
        """The descriptor of a layer."""
        if (form, tf32) not in self._layers:
            dropout = self._make("Dropout", self.cudnn.handle, ctypes.c_float(0.), None, ctypes.c_size_t(0),
                                 ctypes.c_ulonglong(0))                # between layers: there is one
            self._layers[form, tf32] = self._make(
                "RNN", STANDARD, MODES[form.cell], BIASES[form.biases], UNIDIRECTIONAL, LINEAR_INPUT, FLOAT, FLOAT,
                DEFAULT_MATH if tf32 else FMA_MATH, form.features, form.units, form.units, 1, dropout,
                ctypes.c_uint32(PADDED_IO_DISABLED))
        return self._layers[form, tf32]

    def sequences(self, time: int, samples: int, width: int) -> Any:
        """The descriptor of (time, samples, width) numbers."""
        key = time, samples, width
        if key not in self._extents:
            lengths = (ctypes.c_int * samples)(*[time] * samples)
            self._extents[key] = self._make("RNNData", FLOAT, SEQUENCES_PACKED, time, samples, width, lengths, None)
        return self._extents[key]

    def states(self, samples: int, units: int) -> Any:
        """The descriptor of (1, samples, units) numbers: the states of one layer."""
        key = samples, units
        if key not in self._extents:
            ints = ctypes.c_int * 3
            self._extents[key] = self._make("Tensor", FLOAT, 3, ints(1, samples, units),
                                            ints(samples * units, units, 1))
        return self._extents[key]

    # -------------------------------------------------------------- weights
    def take(self, form: Form, tf32: bool) -> None:
        layer, size = self.layer(form, tf32), ctypes.c_size_t()
        self._try("cudnnGetRNNWeightSpaceSize", self.cudnn.handle, layer, ctypes.byref(size))
        if size.value != 4 * form.size:
            raise Refused(f"its weights take {size.value:,} bytes, not {4 * form.size:,}")
        gates, at = GATES[form.cell], 0
        matrices = [(k, (form.units, form.features if k < gates else form.units)) for k in range(2 * gates)]
        want: dict[int, list[tuple[int, tuple[int, ...]] | None]] = {}
        for k, shape in matrices:
            want[k], at = [(at, shape), None], at + 4 * shape[0] * shape[1]
        for k in range(form.biases * gates):
            want[k][1], at = (at, (form.units, 1)), at + 4 * form.units
        for k, places in want.items():
            found = self._places(layer, k, size)
            if found != places:
                raise Refused(f"matrix and bias {k} lie at {found} of its weights, not at {places} (bytes, extents)")

    def _places(self, layer: Any, number: int, size: ctypes.c_size_t) -> list[tuple[int, tuple[int, ...]] | None]:
        """Where a linear layer's matrix and bias lie in the weights: bytes from their start, and the extents."""
        base = self.cudnn.memory                             # an address of the device; nothing is read there
        addresses = [ctypes.c_void_p(), ctypes.c_void_p()]
        descriptors = [self._make("Tensor", FLOAT, 3, *2 * [(ctypes.c_int * 3)(1, 1, 1)]) for _ in addresses]
        self._try("cudnnGetRNNWeightParams", self.cudnn.handle, layer, ctypes.c_int32(0), size,
                         ctypes.c_void_p(base), ctypes.c_int32(number), descriptors[0], ctypes.byref(addresses[0]),
                         descriptors[1], ctypes.byref(addresses[1]))
        out = [(address.value - base, self._extents_of(d)) if address.value else None
               for d, address in zip(descriptors, addresses)]
        for d in descriptors:
            self.cudnn.check("cudnnDestroyTensorDescriptor", d)
        return out

    def _extents_of(self, tensor: Any) -> tuple[int, ...]:
        """The two extents of a tensor (1, rows, columns); `Refused` unless its rows lie one behind the other."""
        kind, rank, extents, strides = ctypes.c_int(), ctypes.c_int(), (ctypes.c_int * 3)(), (ctypes.c_int * 3)()
        self.cudnn.check("cudnnGetTensorNdDescriptor", tensor, 3, ctypes.byref(kind), ctypes.byref(rank), extents,
                         strides)
        if kind.value != FLOAT or rank.value != 3 or extents[0] != 1 or tuple(strides[1:]) != (extents[2], 1):
            raise Refused(f"weights of {rank.value} axes {list(extents)}, {list(strides)} apart, of type {kind.value}")
        return tuple(extents[1:])

    # -------------------------------------------------------------- calls
    def needs(self, what: Recurrent) -> Needs:
        if what not in self._needs:
            room, kept = ctypes.c_size_t(), ctypes.c_size_t()
            back = what.training or what.gradient
            self.cudnn.check("cudnnGetRNNTempSpaceSizes", self.cudnn.handle, self.layer(what.form, what.tf32),
                             TRAINING if back else INFERENCE, self.sequences(what.time, what.samples,
                                                                             what.form.features),
                             ctypes.byref(room), ctypes.byref(kept))
            self._ends(what)
            self._needs[what] = Needs(room.value, kept.value if back else 0)
        return self._needs[what]

    def _ends(self, what: Recurrent) -> tuple[Any, Any, Any]:
        """Descriptors of the inputs, outputs and states."""
        x, y = (self.sequences(what.time, what.samples, width) for width in (what.form.features, what.form.units))
        return x, y, self.states(what.samples, what.form.units)

    def ask(self, what: Recurrent, at: Addresses, needs: Needs) -> Run:
        form = what.form
        layer, (x, y, h) = self.layer(form, what.tf32), self._ends(what)
        weights = ctypes.c_size_t(4 * form.size)
        room = [*_pieces((needs.room, at.room), (needs.kept, at.kept))]
        lengths = ctypes.c_void_p(at.lengths)
        if STATES[form.cell] == 2 and not at.first_cells:
            raise DeviceError(f"a {form} was asked for without its cells' first states")
        forward = [layer, TRAINING if what.training else INFERENCE, lengths, x, *_pointers(at.inputs), y,
                   *_pointers(at.outputs), h, *_pointers(at.first, at.last), h,
                   *_pointers(at.first_cells, at.last_cells), weights, *_pointers(at.weights), *room]
        data = [layer, lengths, y, *_pointers(at.outputs, at.d_outputs), x, *_pointers(at.d_inputs), h,
                *_pointers(at.first, at.d_last, at.d_first), h,
                *_pointers(at.first_cells, at.d_last_cells, at.d_first_cells), weights, *_pointers(at.weights), *room]
        gradient = [layer, ADD, lengths, x, *_pointers(at.inputs), h, *_pointers(at.first), y,
                    *_pointers(at.outputs), weights, *_pointers(at.d_weights), *room]

        def run(stream: Any, lane: int) -> None:
            self.cudnn.check("cudnnSetStream", self.cudnn.handle, ctypes.c_void_p(int(stream)))
            if not what.gradient:
                self.cudnn.check("cudnnRNNForward", self.cudnn.handle, *forward)
                return
            self.cudnn.check("cudnnRNNBackwardData_v8", self.cudnn.handle, *data)
            self.cudnn.check("cudnnRNNBackwardWeights_v8", self.cudnn.handle, *gradient)
        return run


def _pointers(*addresses: int) -> list[Any]:
    return [ctypes.c_void_p(a or None) for a in addresses]


def _pieces(*pieces: tuple[int, int]) -> Sequence[Any]:
    """Size and address of each piece of memory; no address where there are no bytes."""
    return [x for size, address in pieces for x in (ctypes.c_size_t(size), ctypes.c_void_p(address if size else None))]


__all__ = ["CudnnRecurrent"]
