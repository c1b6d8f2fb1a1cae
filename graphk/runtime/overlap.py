"""Calls that are begun before the ones before are done: inputs travel to a device while it computes, outputs back.

In: an executable of a device, and the inputs of its calls.  Out: for each what waits for the outputs.  What always
holds: results and variables are those of calls one after another, in the same bits; the ends of a program (staging
memory and the device's) are there twice, and one of the two is written only when the call that used it last is done;
what stays single, the arena and variables, is used by one recording after another.
"""
from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Callable, Mapping, Sequence

from graphk.runtime.device import Device, OutOfDeviceMemory
from graphk.runtime.exchange import DeviceArray
from graphk.runtime.mirrors import writing

if TYPE_CHECKING:
    from graphk.runtime.gpu import GpuExecutable, Recorded

KEPT = 8                          # sizes, each recorded for both ends
Values = list[Any]


class Pending:
    """A call that was begun; called, it gives the outputs."""
    __slots__ = ("recorded", "values", "lock")

    def __init__(self, recorded: Recorded, lock: Any):
        self.recorded: Recorded | None = recorded
        self.values: Values = []
        self.lock = lock

    def __call__(self) -> Values:
        with self.lock:
            if self.recorded is not None:
                self.recorded.replay.wait()
                self.values = [staged.copy() for staged in self.recorded.outputs if not isinstance(staged, DeviceArray)]
                self.recorded = None
            return self.values


class Overlap:
    """The calls of one executable that may overlap."""

    def __init__(self, device: Device):
        self.device = device
        self.recorded: dict[tuple[int, ...], tuple[Recorded, Recorded]] = {}       # by sizes, for each of the ends
        self._begun: list[Pending | None] = [None, None]           # the last call with each of the two ends
        self._turn = 0
        self._memory, self._nbytes = 0, -1                         # of both ends on the device
        self._refused = sys.maxsize                                # bytes of one for which there was no room

    def start(self, exe: GpuExecutable, inputs: Sequence[Any]) -> Callable[[], Values]:
        """Begin a call."""
        with exe.device.lock:
            arrays = [exe.fit(b, a) for b, a in zip(exe.inputs, inputs, strict=True)]
            env = exe.dims_of(arrays)
            exe.bring()
            pair = None if exe.kept or exe.busy or any(isinstance(a, DeviceArray) for a in arrays) else self._pair(
                exe, env)
            if pair is None:
                values = exe(arrays)
                return lambda: values
            with exe.taken():
                at, self._turn = self._turn, 1 - self._turn
                earlier, recorded = self._begun[at], pair[at]
                if earlier is not None:
                    earlier()
                exe.stage(recorded, arrays)
                try:
                    with writing(exe.writes):
                        recorded.replay.start()
                except BaseException:              # an interrupt, when a part of it may have begun
                    self.device.finish()
                    raise
                self._begun[at] = begun = Pending(recorded, exe.device.lock)
                return begun

    def _pair(self, exe: GpuExecutable, env: Mapping[str, int]) -> tuple[Recorded, Recorded] | None:
        """The recordings for sizes; None where the device has no room for a second pair of ends."""
        key = tuple(env.values())
        if key not in self.recorded:
            starts = exe.addresses(env)                            # which may drop all that was recorded
            count = len(exe.inputs) + len(exe.outputs)
            ends, rest = starts[1:1 + count], starts[1 + count:]
            nbytes = rest[0] - starts[1]
            if not self._reserve(nbytes):
                return None
            if len(self.recorded) >= KEPT:
                self.drain()
                self.recorded.clear()
            moved = [self._memory + k * self._nbytes - starts[1] for k in (0, 1)]
            first, second = (exe.record(env, [starts[0], *(by + e for e in ends), *rest], [0] * len(exe.inputs), True)
                             for by in moved)
            if first is None or second is None:    # the call by itself takes more memory
                return None
            self.recorded[key] = first, second
        return self.recorded[key]

    def _reserve(self, nbytes: int) -> bool:
        """Room for two of so many bytes; what was recorded on less is forgotten."""
        if nbytes > self._nbytes and nbytes < self._refused:
            self.release()
            try:
                self._memory = self.device.allocate(2 * nbytes)
                self._nbytes = nbytes
            except OutOfDeviceMemory:
                self._refused = nbytes                             # and it is not asked for again with each batch
        return nbytes <= self._nbytes

    def drain(self) -> None:
        """Wait for the calls that were begun."""
        for begun in self._begun:
            if begun is not None:
                begun()
        self._begun = [None, None]

    def forget(self) -> None:
        """Wait for the calls that were begun, whose outputs nobody will ask for; takes no lock."""
        for begun in self._begun:
            if begun is not None and begun.recorded is not None:
                begun.recorded.replay.wait()
        self._begun = [None, None]

    def release(self) -> None:
        """Give the memory back."""
        self.drain()
        self.recorded.clear()
        if self._nbytes >= 0:
            self.device.free(self._memory)
        self._memory, self._nbytes = 0, -1


__all__ = ["Overlap", "Pending"]
