"""Memory of results that stay on a device.

In: how many bytes.  Out: a `Block`, whose memory nobody else has until nobody refers to it.  What always holds: work of
the device's one stream may still use a block when it comes back, and is done before what the next owner starts there;
what another library has seen is used again only when all that the device was told to do is done, since nobody knows
which of that library's streams read it.
"""
from __future__ import annotations

import contextlib
import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphk.runtime.device import Device

KEPT = 256 << 20                  # bytes that nobody uses and that are kept for results to come
ROUND = 512


class Block:
    """Memory at an address of a device.  `shown`: another library knows of it."""
    __slots__ = ("pool", "device", "address", "nbytes", "shown")

    def __init__(self, pool: Pool, address: int, nbytes: int):
        self.pool, self.device, self.address, self.nbytes, self.shown = pool, pool.device, address, nbytes, False

    def __del__(self) -> None:
        self.pool.returned.append((self.nbytes, self.address, self.shown))
        with contextlib.suppress(RuntimeError):        # at the process's end there may be no driver
            self.pool.clear(KEPT)


class Pool:
    """The blocks of one device.  Nobody waits for its lock, since blocks come back at any time, in any thread: inside
    of its own methods, too."""

    def __init__(self, device: Device):
        self.device = device
        self.returned: deque[tuple[int, int, bool]] = deque()          # size, address, shown: not sorted yet
        self._free: dict[int, list[int]] = {}          # by size, what the stream's next work may use
        self._shown: dict[int, list[int]] = {}         # by size, what it may use when the device has finished
        self._unused = 0                               # bytes of both
        self._lock = threading.Lock()

    def take(self, nbytes: int) -> Block:
        """Memory of at least so many bytes; `OutOfDeviceMemory` where there is none."""
        size = -(-max(nbytes, 1) // ROUND) * ROUND
        address = self._again(size)
        return Block(self, self.device.allocate(size) if address is None else address, size)

    def _again(self, size: int) -> int | None:
        """Memory that somebody has had."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            self._sort()
            if not self._free.get(size) and size in self._shown:
                self.device.finish()
                while self._shown:                     # none is ever in both, whoever interrupts this
                    also, addresses = self._shown.popitem()
                    self._free.setdefault(also, []).extend(addresses)
            found = self._free.get(size)
            if not found:
                return None
            self._unused -= size
            return found.pop()
        finally:
            self._lock.release()

    def _sort(self) -> None:
        while self.returned:
            size, address, shown = self.returned.popleft()
            (self._shown if shown else self._free).setdefault(size, []).append(address)
            self._unused += size

    def clear(self, beyond: int = 0) -> bool:
        """Give back what nobody uses, where that is more than so many bytes; whether it was."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            self._sort()
            if self._unused <= beyond:
                return False
            unused = [a for kept in (self._shown, self._free) for addresses in kept.values() for a in addresses]
            self._shown.clear()
            self._free.clear()
            self._unused = 0
            for address in unused:
                self.device.free(address)
            return True
        finally:
            self._lock.release()


__all__ = ["Block", "Pool"]
