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
        self._shown: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    def take(self, nbytes: int) -> Block:
        """Memory of at least so many bytes; `OutOfDeviceMemory` where there is none."""
        size = -(-max(nbytes, 1) // ROUND) * ROUND
        address = self._unused(size)
        return Block(self, self.device.allocate(size) if address is None else address, size)

    def _unused(self, size: int) -> int | None:
        if not self._lock.acquire(blocking=False):
            return None
        try:
            self._sort()
            if not self._free.get(size) and any(s == size for s, _ in self._shown):
                self.device.finish()
                for s, address in self._shown:
                    self._free.setdefault(s, []).append(address)
                self._shown.clear()
            found = self._free.get(size)
            return found.pop() if found else None
        finally:
            self._lock.release()

    def _sort(self) -> None:
        while self.returned:
            size, address, shown = self.returned.popleft()
            if shown:
                self._shown.append((size, address))
            else:
                self._free.setdefault(size, []).append(address)

    def clear(self, beyond: int = 0) -> bool:
        """Give back what nobody uses, where that is more than so many bytes; whether it was."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            self._sort()
            unused = [*self._shown, *((size, a) for size, addresses in self._free.items() for a in addresses)]
            if sum(size for size, _ in unused) <= beyond:
                return False
            self._shown.clear()
            self._free.clear()
            for _, address in unused:
                self.device.free(address)
            return True
        finally:
            self._lock.release()


__all__ = ["Block", "Pool"]
