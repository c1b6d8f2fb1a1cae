"""What the kernel cache holds.

In: its files, as `graphk.codegen.cache.held` reads them.  Out: text.  What always holds: nothing is removed unasked.
"""
from __future__ import annotations

import time
from collections import defaultdict
from typing import Sequence

from graphk.codegen import cache
from graphk.inspection.tables import columns

HEAD = ("made by", "processor", "lanes", "kernels", "bytes", "oldest", "newest")


def ago(seconds: float) -> str:
    """An age in its largest unit.

    >>> ago(7300)
    '2 h ago'
    """
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(0., seconds):.0f} s ago"


def cache_text(files: Sequence[cache.Held], now: float) -> str:
    """A row for each version of graphk and processor."""
    total = sum(f.bytes for f in files)
    lines = [f"{cache.directory()}: {len(files)} compiled kernels, {total / 1e6:.2f} MB"]
    groups: dict[tuple[bool, str], list[cache.Held]] = defaultdict(list)
    for f in files:
        groups[f.current, f.target].append(f)
    rows = []
    for (current, target), group in sorted(groups.items(), key=lambda kv: (not kv[0][0], kv[0][1])):
        _, lanes, cpu, *_ = [*target.split("|"), "", ""]
        rows.append(("this version" if current else "other versions", cpu or "?", lanes, str(len(group)),
                     f"{sum(f.bytes for f in group) / 1e6:.2f} MB", ago(now - group[0].written),
                     ago(now - group[-1].written)))
    old = sum(f.bytes for f in files if not f.current)
    note = [f"{old / 1e6:.2f} MB are of other versions of graphk, Numba or LLVM, which this one never uses: "
            "`graphk cache --clear` removes all"] if old else []
    return "\n".join([*lines, *([columns(HEAD, rows, (0, 1))] if rows else []), *note])


def told(clear: bool) -> str:
    """The table; or, once the cache is empty, what was removed."""
    files = cache.held()
    if not clear:
        return cache_text(files, time.time())
    total = sum(f.bytes for f in files)
    return f"removed {cache.clear()} files ({total / 1e6:.2f} MB of kernels) from {cache.directory()}"


__all__ = ["ago", "cache_text", "told"]
