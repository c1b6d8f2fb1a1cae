"""Variables on devices: which copy of a variable is the newest, and when it travels.

In: a variable's own array (on the host), and a device that reads or writes it.  Out: `Mirror`, its memory there.  What
always holds: of a variable's array and its mirrors at least one is up to date, and whoever reads a copy that is not
gets it first; nothing travels that is not asked for.
"""
from __future__ import annotations

import contextlib
import threading
import weakref
from typing import TYPE_CHECKING, Collection, Iterable, Iterator, Sequence

import numpy as np

from graphk.runtime import writes
from graphk.runtime.exchange import ResidentVariable

if TYPE_CHECKING:
    from graphk.runtime.device import Device

mirrored: dict[int, list["Mirror"]] = {}             # by id of the host's array, which outlives its entry
_lock = threading.RLock()


class Mirror:
    """A variable's memory on one device.  `stale`: another copy is newer; `newest`: the host's copy is older, and is to
    be had from this one."""
    __slots__ = ("device", "address", "stale", "newest", "_host")

    def __init__(self, host: np.ndarray, device: Device):
        self.device, self.stale, self.newest = device, True, False
        self.address = device.allocate(host.nbytes)
        self._host = weakref.ref(host)

    def refresh(self) -> None:
        """Bring the memory up to date."""
        host = self._host()
        if not self.stale or host is None:
            return
        with _lock:
            newest = next((m for m in mirrored[id(host)] if m.newest), None)
            if newest is None or not self.device.fetch(self.address, newest.device, newest.address, host.nbytes):
                self.device.upload(self.address, current(host))
            self.stale = False


def wrote(host: np.ndarray, devices: Sequence[Device]) -> None:
    """Devices write their memory, all the same, from here on: other copies are out of date.  Each is up to date now."""
    for m in mirrored.get(id(host), ()):
        m.stale, m.newest = m.device not in devices, m.device is devices[0]


@contextlib.contextmanager
def writing(written: Collection[tuple[np.ndarray, Sequence[Device]]]) -> Iterator[None]:
    """While a call is started that writes variables on devices, all of which have their newest values."""
    if written:
        writes.note_write()
    for host, devices in written:          # before: whoever interrupts it finds what is on the devices, in any case
        wrote(host, devices)
    yield
    for host, devices in written:          # again: another thread may have taken what was there before for the newest
        wrote(host, devices)


def mirror_of(host: np.ndarray, device: Device) -> Mirror:
    """The array's memory on `device`, which is made where there is none, and freed with the array."""
    with _lock:
        known = mirrored.get(id(host), [])
        found = next((m for m in known if m.device is device), None)
        if found is None:
            found = Mirror(host, device)
            if not known:
                weakref.finalize(host, _forget, id(host))
            mirrored[id(host)] = [*known, found]
        return found


class InPlace:
    """Who keeps a variable's memory on a device: its array."""
    __slots__ = ("device", "host", "shown")

    def __init__(self, device: Device, host: np.ndarray):
        self.device, self.host, self.shown = device, host, False


def in_place(host: np.ndarray, device: Device) -> ResidentVariable:
    """The array's memory on `device`, up to date; who writes the variable later writes it there, or anywhere."""
    with device.lock:
        mirror = mirror_of(host, device)
        mirror.refresh()
    return ResidentVariable(mirror.address, host.shape, host.dtype, InPlace(device, host))


def _forget(key: int) -> None:
    for m in mirrored.pop(key, ()):
        m.device.free(m.address)


def current(host: np.ndarray) -> np.ndarray:
    """The array, with the newest value."""
    if mirrored and id(host) in mirrored:
        with _lock:
            for m in mirrored.get(id(host), ()):
                if m.newest:
                    m.device.download(host, m.address)
                    m.newest = False
    return host


@contextlib.contextmanager
def among_devices(read: Iterable[np.ndarray], written: Iterable[np.ndarray]) -> Iterator[None]:
    """While the host runs what it compiled: it has the newest values of variables, and devices learn of what it
    writes."""
    for array in read:
        current(array)
    try:
        yield
    finally:
        for array in written:
            with writes.writing(array):
                pass


def _host_wrote(host: np.ndarray) -> None:
    for m in mirrored.get(id(host), ()):
        m.stale, m.newest = True, False


writes.WATCHERS.append(_host_wrote)

__all__ = ["Mirror", "among_devices", "current", "in_place", "mirror_of", "mirrored", "writing", "wrote"]
