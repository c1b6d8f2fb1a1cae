"""NCCL's binding in Python, over simulated devices: the calls that graphk makes, as `nccl.bindings.nccl` takes them.

In: handles and addresses.  Out: what the binding answers, or `NCCLError`.  What always holds: nothing is added up
before the group ends; members that do not call alike, or not at all, are an error, where NCCL would wait for ever.
"""
import enum

import numpy as np


class NCCLError(Exception):
    pass


class DataType(enum.IntEnum):
    Int8, Uint8, Int32, Uint32, Int64, Uint64, Float16, Float32, Float64 = range(9)


class RedOp(enum.IntEnum):
    Sum = 0


class UniqueId:
    def __init__(self, data=bytes(128)):
        self.data = bytes(data)
        assert len(self.data) == 128

    def __bytes__(self):
        return self.data

    @classmethod
    def from_buffer(cls, buffer):
        return cls(buffer)


class Nccl:
    """`devices`: all simulated ones, among which addresses are looked up.  `exchange(lists)`: where the members are in
    several processes, what each of them passes, by rank: for each of its members a list of arrays."""
    DataType, RedOp, UniqueId, NCCLError = DataType, RedOp, UniqueId, NCCLError

    def __init__(self, devices, exchange=None):
        self.devices, self.exchange = devices, exchange
        self.size, self.group, self.made, self.sums = 0, None, 0, 0
        self.broken = ""                                       # the call that fails

    def _fails(self, name):
        if self.broken == name:
            raise NCCLError("UnhandledCudaError (1): unhandled cuda error")

    def get_unique_id(self):
        self._fails("get_unique_id")
        return UniqueId(b"7" * 128)

    def comm_init_all(self, count, numbers):
        self._fails("comm_init_all")
        assert len(set(numbers)) == count == len(numbers)
        self.size, self.made = count, self.made + 1
        return [("member", i) for i in range(count)]

    def comm_init_rank(self, size, name, rank):
        self._fails("comm_init_rank")
        assert bytes(name) == b"7" * 128 and 0 <= rank < size
        assert self.group is not None, "members of one process that do not join together wait for each other"
        self.size, self.made = size, self.made + 1
        return "member", rank

    def group_start(self):
        assert self.group is None
        self.group = []

    def all_reduce(self, source, target, count, dtype, op, member, stream):
        self._fails("all_reduce")
        assert self.group is not None and op == RedOp.Sum and source == target
        self.group.append((member[1], target, count, DataType(dtype).name.lower(), stream))

    def group_end(self):
        calls, self.group = self.group, None
        self._fails("group_end")
        ranks = sorted({c[0] for c in calls})
        by_rank = [[c for c in calls if c[0] == r] for r in ranks]
        kinds = {tuple(c[2:4] for c in own) for own in by_rank}
        if not calls:
            return
        views = [[self._view(address, dtype)[:count] for _, address, count, dtype, _ in own] for own in by_rank]
        everyone = [[v.copy() for v in own] for own in views]
        if self.exchange is not None:
            everyone = [own for part in self.exchange(everyone) for own in part]
        if len(kinds) > 1 or len(everyone) != self.size:
            raise NCCLError(f"members that do not call alike: {len(everyone)} of {self.size}, {kinds}")
        for i, sums in enumerate(zip(*everyone)):
            total = np.add.reduce(sums)
            for own in views:
                own[i][...] = total
        self.sums += 1

    def _view(self, address, dtype):
        device = next(d for d in self.devices if d.holds(address))
        return device.view(address, dtype)
