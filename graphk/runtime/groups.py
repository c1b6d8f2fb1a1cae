"""How many rows of a block run at a time, and where what only they need lies.

In: an `Executable`, one of its program's blocks, values of the symbolic dims, and the number of threads.  Out: a
`Groups`, or nothing where the steps had better run one after another with all rows.  What always holds: results have
the same bits either way.  Source: loop tiling across the layers of a network ("depth first"), by whole rows.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Iterable, Mapping

from graphk.ir.dims import compile_dims
from graphk.ir.program import ALIGN, RowBlock
from graphk.ir.row_loops import names_in, row_bytes

if TYPE_CHECKING:
    from graphk.runtime.compile import Executable

NEAR_BYTES = 1 << 20             # that the widest step touches for one group (twice an L2 cache: flat around it)
FAR_BYTES = 2 << 20              # for one row, beyond which no group stays in a cache
FEW_ROWS = 4                     # of a thread, below which threads rather share each step,
SMALL_ROW = 1 << 17              # unless a row has this many bytes: an image's
BALANCED = 1.07                  # the most rows of a thread, over the average
AGAIN = 1.                       # bytes read again for each group, over those that its steps hand each other


@dataclass(frozen=True, slots=True)
class Groups:
    """rows: at a time; offsets: where in a thread's own memory the block's private storage lies, which takes `nbytes`;
    moving: the bytes of a row of every other buffer (0: all rows read it)."""
    rows: int
    offsets: dict[str, int]
    nbytes: int
    moving: dict[str, int]


def groups(exe: Executable, block: RowBlock, env: Mapping[str, int], threads: int) -> Groups | None:
    """The plan for one block."""
    roots, table, rows = exe._roots, exe.table, env[str(block.rows)]
    steps = exe.program.steps[block.first:block.last + 1]
    handed, own = exe.handed[block]
    storage = list(dict.fromkeys(roots[n] for n in names_in(steps)))
    each = dict(zip(storage, compile_dims(tuple(row_bytes(table[n], block.rows) for n in storage))(env)))
    common = sum(compile_dims(tuple(table[n].nbytes for n in storage if each[n] == 0))(env))
    widest = max(sum(each[n] for n in {roots[b] for b in names_in((s,))}) for s in steps)
    share = -(-rows // threads)
    times = max(1, min(share, -(-share * widest // NEAR_BYTES)))
    few = -(-share // times)
    if (few == 0 or times == threads == 1 or widest > FAR_BYTES or share < FEW_ROWS and widest < SMALL_ROW
            or share * threads > BALANCED * rows or common > AGAIN * few * sum(each[n] for n in handed)):
        return None
    offsets = dict(zip(own, compile_dims(tuple(table[n].offset for n in own))({**env, str(block.rows): few})))
    low = min(offsets.values(), default=0)
    end = max((at + few * each[n] for n, at in offsets.items()), default=0)
    return Groups(few, {n: at - low for n, at in offsets.items()}, end - low,
                  {n: each[roots[n]] for n in names_in(steps) if roots[n] not in offsets})


def private_bytes(plans: Iterable[Groups]) -> int:
    """What a thread needs for the private storage of blocks, which run one after another."""
    return max((-(-plan.nbytes // ALIGN) * ALIGN for plan in plans), default=0)


__all__ = ["FEW_ROWS", "Groups", "groups", "private_bytes"]
