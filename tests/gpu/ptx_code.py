"""PTX instructions as steps that run for many threads at once.

In: a function of a module.  Out: a `Code`: blocks of steps, each of which takes a `Frame` of the machine and the
numbers of the threads that are there.  What always holds: an operand is a slot, a view of a register (or of a constant)
in one type; what an instruction or an operand says and nothing here knows is an error that shows it, when the code is
made.
"""
from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Callable

import numpy as np

from tests.gpu.ptx_ops import CARRY, TYPES, rule_of
from tests.gpu.ptx_text import SIZES, Function, PtxError, Statement

if TYPE_CHECKING:
    from tests.gpu.ptx_machine import Frame, Program

Threads = Any                     # slice(None), or an array of numbers
Step = Callable[["Frame", Threads], Any]
WAITING = ("bar", "barrier", "shfl", "vote")
IGNORED = ("membar", "fence")     # all threads see all writes
LEAVING = ("bra", "brx", "ret", "exit")
GENERIC = {"global", "shared", "local", "const", "param"}
PLAIN = {"v2", "v4", "nc", "volatile", "relaxed", "gpu", "cta", "sys", "ca", "cg", "cs", "lu", "cv", "wb", "wt"}


class PtxFault(Exception):
    """A kernel did what a GPU leaves undefined, or stops at; `thread`: the number of one that did."""

    def __init__(self, message: str, thread: int | None = None):
        super().__init__(message)
        self.thread = thread


class Block:
    """Instructions without a way in or out between them; the first may wait for other threads."""

    def __init__(self, first: Statement):
        self.first = self.last = first
        self.steps: list[tuple[Step, Statement]] = []
        self.wait: Callable[["Frame", Threads], tuple[Threads, Threads]] | None = None
        self.end: Callable[["Frame", Threads], list[tuple[int, Threads]]] | None = None


class Code:
    """A function, ready to run: its blocks, and what its slots are views of."""

    def __init__(self, function: Function, program: "Program"):
        self.function, self.program = function, program
        self.slots: dict[tuple[str, str], int] = {}
        words = [s.name.split(".")[0] for s in function.statements]
        starts = {0, *function.labels.values(), *(at for at, w in enumerate(words) if w in WAITING),
                  *(at + 1 for at, w in enumerate(words) if w in LEAVING)}
        self.at = {s: k for k, s in enumerate(sorted(x for x in starts if x < len(words)))}
        self.blocks: list[Block] = []
        for k, s in enumerate(function.statements):
            if k in self.at:
                self.blocks.append(Block(s))
            try:
                self._statement(self.blocks[-1], s)
            except (PtxError, ValueError, KeyError) as e:
                raise PtxError(f"line {s.line}: `{s.text}`: {e}") from e

    # -------------------------------------------------------------- operands
    def slot(self, text: str, kind: str, result: bool = False) -> int:
        """The number of the view that an operand is read or written by."""
        register = self.function.registers.get(text)
        if register is not None:
            have, want = SIZES[register], SIZES[kind]
            if (register == "pred") != (kind == "pred") or want > have:
                raise PtxError(f"`{text}` is a register of type .{register}, and cannot be a .{kind}")
            if result and want < have:                 # a wider register gets zeros, or the sign
                kind = ("s" if kind[0] == "s" else "u") + str(8 * have)
        elif result:
            raise PtxError(f"`{text}` is no register")
        return self.slots.setdefault((text, kind), len(self.slots))

    def _number(self, text: str, kind: str) -> Any:
        """An immediate operand, or the address of a variable."""
        if found := re.fullmatch(r"0[fF]([0-9a-fA-F]{8})|0[dD]([0-9a-fA-F]{16})", text):
            bits = bytes.fromhex(found[1] or found[2])[::-1]
            if len(bits) != SIZES[kind]:
                raise PtxError(f"{8 * len(bits)} bits, `{text}`, as a .{kind}")
            return np.frombuffer(bits, TYPES[kind])[0]
        if re.fullmatch(r"-?(0[xX][0-9a-fA-F]+|\d+)U?", text):
            value = int(text.rstrip("U"), 0)
            bits = 8 * SIZES[kind]
            if kind[0] == "f":
                raise ValueError(f"an integer, `{text}`, as a .{kind}")
            return bool(value) if kind == "pred" else np.array(value % (1 << bits), f"u{bits // 8}").view(TYPES[kind])
        raise PtxError(f"`{text}` is neither a register nor a number nor a variable")

    def views(self, frame: "Frame") -> list[np.ndarray]:
        """The slots of a frame."""
        kept, out, n = dict[str, np.ndarray](), list[np.ndarray](), frame.run.count
        for text, kind in self.slots:
            register = self.function.registers.get(text, "pred" if text == CARRY else None)
            if register is not None:
                if text not in kept:
                    size = SIZES[register]
                    kept[text] = np.zeros(n, bool) if register == "pred" else np.full(n * size, 0xAB, np.uint8).view(
                        f"u{size}")
                have = kept[text]
                out.append(have if register == "pred" else have.view(TYPES[kind])[::SIZES[register] // SIZES[kind]])
            elif text in frame.run.specials:
                out.append(frame.run.specials[text].astype(TYPES[kind]))
            else:
                address = self.program.addresses.get(text)
                value = self._number(text, kind) if address is None else TYPES[kind](address)
                out.append(np.broadcast_to(np.asarray(value, TYPES[kind]), (n,)))
        return out

    # -------------------------------------------------------------- statements
    def _statement(self, block: Block, s: Statement) -> None:
        name, *words = s.name.split(".")
        if name in IGNORED:
            return
        if name in LEAVING:
            block.end, block.last = self._branch(name, s), s
        elif name in WAITING:
            if s.guard:
                raise PtxError("a guarded instruction that waits is not known here")
            block.wait = self._waiting(name, words, s)
        else:
            step = self._memory(name, words, s) or self._call(name, s) or self._vector_move(name, s) or self._plain(s)
            block.steps.append((self._guarded(step, s), s))

    def _guarded(self, step: Step, s: Statement) -> Step:
        if s.guard is None:
            return step
        p, negated = self.slot(s.guard[0], "pred"), s.guard[1]

        def run(frame: Frame, i: Threads) -> None:
            flag = frame.values[p][i] ^ negated
            if flag.all():
                step(frame, i)
            elif flag.any():
                step(frame, frame.run.numbers(i)[flag])
        return run

    def _plain(self, s: Statement) -> Step:
        """What a rule computes."""
        rule, operands = rule_of(s.name), list(s.operands)
        if "|" in operands[0]:
            raise PtxError("a second predicate is not known here")
        if len(operands) != len(rule.operands) + 1:
            raise PtxError(f"takes {len(rule.operands)} operands, received {len(operands) - 1}")
        reads = [self.slot(x, kind) for x, kind in zip(operands[1:], rule.operands)]
        compute = rule.run
        if "in" in rule.carry:
            reads.append(self.slots.setdefault((CARRY, "pred"), len(self.slots)))
        d = self.slot(operands[0], rule.results[0], True)
        if "out" in rule.carry:
            carry = self.slots.setdefault((CARRY, "pred"), len(self.slots))

            def both(frame: Frame, i: Threads) -> None:
                v = frame.values
                v[d][i], v[carry][i] = compute(*[v[r][i] for r in reads])
            return both

        def run(frame: Frame, i: Threads) -> None:
            v = frame.values
            v[d][i] = compute(*[v[r][i] for r in reads])
        return run

    def _vector_move(self, name: str, s: Statement) -> Step | None:
        """`mov.b64 {%r1, %r2}, %rd` and the opposite."""
        if name != "mov" or not any(x.startswith("{") for x in s.operands):
            return None
        target, source = s.operands
        kind = s.name.split(".")[1]
        whole, parts = (target, source) if source.startswith("{") else (source, target)
        names = [x.strip() for x in parts.strip("{}").split(",")]
        part = f"b{8 * SIZES[kind] // len(names)}"
        size = SIZES[part]
        pieces = [None if x == "_" else self.slot(x, part, whole is source) for x in names]
        w = self.slot(whole, kind, whole is target)

        def run(frame: Frame, i: Threads) -> None:
            v = frame.values
            if whole is source:
                words = np.ascontiguousarray(v[w][i]).view(f"u{size}").reshape(-1, len(names))
                for k, p in enumerate(pieces):
                    if p is not None:
                        v[p][i] = words[:, k]
            else:
                v[w][i] = np.stack([v[p][i] for p in pieces], 1).reshape(-1).view(TYPES[kind])
        return run

    def _memory(self, name: str, words: list[str], s: Statement) -> Step | None:
        """Loads, stores and atomic operations."""
        if name not in ("ld", "st", "ldu", "atom", "red"):
            return None
        kind = words[-1]
        space = next((w for w in words if w in GENERIC), "")
        vector = next((int(w[1]) for w in words if w in ("v2", "v4")), 1)
        action = next((w for w in words if w in ATOMIC), "")
        allowed = {*GENERIC, *PLAIN, kind, *({action} if name in ("atom", "red") else ())}
        if kind not in SIZES or not set(words) <= allowed:
            raise PtxError(f"has modifiers that are unknown: {sorted(set(words) - allowed)}")
        place = s.operands[0 if name in ("st", "red") else 1]
        found = re.fullmatch(r"\[\s*([\w%$.@]+)\s*(?:\+\s*(-?\w+))?\s*\]", place)
        if found is None:
            raise PtxError(f"expected an address, found `{place}`")
        base, offset = found[1], int(found[2] or "0", 0)
        if space == "param":
            return self._param(name, kind, vector, base, offset, s)
        narrow = SIZES[self.function.registers.get(base, "b64")] == 4          # an address in shared memory
        at, delta = self.slot(base, "u32" if narrow else "u64"), np.uint64(offset % (1 << 64))
        values = s.operands[1 if name in ("st", "red") else 0]
        if name in ("atom", "red"):
            return self._atomic(name, kind, space, action, at, delta, s)
        slots = [self.slot(x.strip(), kind, name != "st") for x in values.strip("{}").split(",")]
        if len(slots) != vector:
            raise PtxError(f"{vector} values are expected, found `{values}`")
        lasting = "nc" in words                        # nobody writes it while the kernel runs

        def run(frame: Frame, i: Threads) -> None:
            v, memories, threads = frame.values, frame.run.memories, frame.run.numbers(i)
            address = v[at][i].astype(np.uint64) + delta
            if name == "st":
                memories.store(space, address, threads, kind, [v[x][i] for x in slots])
            else:
                for x, got in zip(slots, memories.load(space, address, threads, kind, vector, lasting)):
                    v[x][i] = got
        return run

    def _atomic(self, name: str, kind: str, space: str, action: str, at: int, delta: Any, s: Statement) -> Step:
        rest = [self.slot(x, kind) for x in s.operands[1 if name == "red" else 2:]]
        d = self.slot(s.operands[0], kind, True) if name == "atom" else None
        change = ATOMIC[action]

        def run(frame: Frame, i: Threads) -> None:
            v, memories = frame.values, frame.run.memories
            lanes = frame.run.numbers(i)
            for lane in lanes:                         # in some order: this one
                one = np.array([lane])
                old, = memories.load(space, v[at][one].astype(np.uint64) + delta, one, kind, 1)
                memories.store(space, v[at][one].astype(np.uint64) + delta, one, kind, [
                    np.asarray(change(old, *[v[r][one] for r in rest])).astype(old.dtype)])
                if d is not None:
                    v[d][one] = old
        return run

    def _param(self, name: str, kind: str, vector: int, base: str, offset: int, s: Statement) -> Step:
        values = s.operands[1 if name == "st" else 0]
        slots = [self.slot(x.strip(), kind, name != "st") for x in values.strip("{}").split(",")]
        item = SIZES[kind]
        if offset % (item * vector):
            raise PtxError(f"{offset} is no multiple of the {item * vector} bytes that are accessed")

        def run(frame: Frame, i: Threads) -> None:
            have = frame.params.get(base)
            if have is None or offset + item * vector > have.shape[1]:
                raise PtxFault(f"`{base}` has no {item * vector} bytes at {offset}")
            column = have[:, :have.shape[1] // item * item].view(TYPES[kind])
            for k, x in enumerate(slots):
                if name == "st":
                    column[:, offset // item + k][i] = frame.values[x][i]
                else:
                    frame.values[x][i] = column[:, offset // item + k][i]
        return run

    def _call(self, name: str, s: Statement) -> Step | None:
        if name != "call":
            return None
        lists = [[x.strip() for x in o.strip("()").split(",") if x.strip()] for o in s.operands]
        gives, (callee,), takes = lists if s.operands[0].startswith("(") else ([], lists[0], *lists[1:])

        def run(frame: Frame, i: Threads) -> None:
            inner = frame.inside(callee)
            function = inner.code.function
            for mine, theirs in [*zip(takes, function.params, strict=True), *zip(gives, function.returns, strict=True)]:
                inner.params[theirs.name] = frame.params[mine]
            inner.go(i)
        return run

    # -------------------------------------------------------------- control
    def _branch(self, name: str, s: Statement) -> Callable[["Frame", Threads], list[tuple[int, Threads]]]:
        after = self.function.statements.index(s) + 1
        below = self.at.get(after, -1)
        if name == "brx":
            pick, table = self.slot(s.operands[0], "u32"), self.function.targets[s.operands[1]]
            places = np.array([self.at[self.function.labels[x]] for x in table])

            def indexed(frame: Frame, i: Threads) -> list[tuple[int, Threads]]:
                to = places[frame.values[pick][i]]
                return [(int(t), frame.run.numbers(i)[to == t]) for t in np.unique(to)]
            return indexed
        target = self.at[self.function.labels[s.operands[0]]] if name == "bra" else -1        # -1: it ends
        if s.guard is None:
            return lambda frame, i: [(target, i)]
        p, negated = self.slot(s.guard[0], "pred"), s.guard[1]

        def run(frame: Frame, i: Threads) -> list[tuple[int, Threads]]:
            flag = frame.values[p][i] ^ negated
            if flag.all():
                return [(target, i)]
            if not flag.any():
                return [(below, i)]
            numbers = frame.run.numbers(i)
            return [(target, numbers[flag]), (below, numbers[~flag])]
        return run

    def _waiting(self, name: str, words: list[str], s: Statement) -> Callable[["Frame", Threads], tuple[Any, Any]]:
        """What an instruction waits for, and does then: a function that gives threads that may go on, and others."""
        if name in ("bar", "barrier"):
            if words not in (["sync"], ["sync", "aligned"], ["cta", "sync"], ["warp", "sync"]) or len(s.operands) != 1:
                raise PtxError("this kind of barrier is not known here")
            if words[0] != "warp":
                return lambda frame, i: frame.run.arrived(i, frame.run.block_of, frame.run.threads)
        members = self.slot(s.operands[-1], "u32")
        step: Step = lambda frame, i: None  # noqa: E731
        if name == "shfl":
            step = self._shuffle(words, s, members)
        elif name == "vote":
            step = self._vote(words, s)

        def wait(frame: Frame, i: Threads) -> tuple[Any, Any]:
            run, lanes = frame.run, frame.run.numbers(i)
            mask = frame.values[members][lanes]
            if not (mask >> run.lane[lanes] & np.uint32(1)).all():
                raise PtxFault("a thread is not one of those that it names")
            named = np.unpackbits(mask.view(np.uint8)).reshape(-1, 32).sum(1)
            ready, rest = run.arrived(i, run.warp_of, named)
            if len(run.numbers(ready)):
                step(frame, ready)
            return ready, rest
        return wait

    def _shuffle(self, words: list[str], s: Statement, members: int) -> Step:
        if words[0] != "sync" or words[1] not in ("bfly", "idx", "up", "down") or words[2] != "b32":
            raise PtxError("this kind of exchange is not known here")
        target, _, flag = s.operands[0].partition("|")
        d = self.slot(target, "b32", True)
        p = self.slot(flag, "pred", True) if flag else None
        a, b, c = (self.slot(x, "b32" if k == 0 else "u32") for k, x in enumerate(s.operands[1:4]))

        def run(frame: Frame, i: Threads) -> None:
            v, lanes = frame.values, frame.run.numbers(i)
            lane = frame.run.lane[lanes].astype(np.int64)
            by, clamp = v[b][i].astype(np.int64) & 31, v[c][i].astype(np.int64)
            mask, last = clamp >> 8 & 31, clamp & 31
            most, least = (lane & mask) | (last & ~mask & 31), lane & mask
            j = {"up": lane - by, "down": lane + by, "bfly": lane ^ by, "idx": least | (by & ~mask & 31)}[words[1]]
            inside = j >= most if words[1] == "up" else j <= most
            j = np.where(inside, j, lane)
            if not (v[members][lanes].astype(np.int64) >> j & 1).all():
                raise PtxFault("a thread reads from one that takes no part")
            v[d][i] = v[a][lanes - lane + j]
            if p is not None:
                v[p][i] = inside
        return run

    def _vote(self, words: list[str], s: Statement) -> Step:
        how = words[1]
        if words[0] != "sync" or how not in ("all", "any", "ballot"):
            raise PtxError("this kind of vote is not known here")
        d = self.slot(s.operands[0], "b32" if how == "ballot" else "pred", True)
        p = self.slot(s.operands[1].lstrip("!"), "pred")
        negated = s.operands[1].startswith("!")

        def run(frame: Frame, i: Threads) -> None:
            lanes = frame.run.numbers(i)
            votes = np.zeros(frame.run.warps, np.uint64)
            voters = votes.copy()
            flag = frame.values[p][lanes] ^ negated
            bit = np.uint64(1) << frame.run.lane[lanes].astype(np.uint64)
            np.bitwise_or.at(votes, frame.run.warp_of[lanes], np.where(flag, bit, np.uint64(0)))
            np.bitwise_or.at(voters, frame.run.warp_of[lanes], bit)
            got = {"ballot": votes, "any": votes != 0, "all": votes == voters}[how]
            frame.values[d][lanes] = got[frame.run.warp_of[lanes]]
        return run


ATOMIC: dict[str, Callable[..., Any]] = {
    "add": lambda old, x: old + x, "min": np.minimum, "max": np.maximum, "and": np.bitwise_and, "or": np.bitwise_or,
    "xor": np.bitwise_xor, "exch": lambda old, x: x, "cas": lambda old, expected, x: np.where(old == expected, x, old)}


__all__ = ["Code", "PtxFault", "Threads"]
