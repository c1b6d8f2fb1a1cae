"""Which steps of a program a device's library computes, and how they are recorded.

In: a planned Program and a Device with a library.  Out: for each step and batch size its `Match` or the reason why it
keeps graphk's kernel.  What always holds: the choice depends on the program, its sizes and the addresses alone; memory
that a call needs (packed operands, a product before its epilogue) is one piece for all steps, which follow one another
on lane 0; everything is compiled, and chosen by the libraries, before a recording begins.
"""
from __future__ import annotations

from functools import partial
from typing import Any, Mapping, Sequence

from graphk.codegen.cuda import CudaSource, print_cuda
from graphk.ir.dims import compile_dims, evaluate
from graphk.ir.effects import padded, root_of
from graphk.ir.loop import Kernel, Let, Lit, Load, Ref, Store, walk
from graphk.ir.program import Program, Step, flat_steps
from graphk.ir.types import ITEMSIZE
from graphk.runtime.device import Device, Work
from graphk.runtime.library import NARROW, Convolution, Library, Places, Product, Refused, tell
from graphk.runtime.library_conv import match_convolution
from graphk.runtime.library_joins import ALIGN, Chosen, Plan, join
from graphk.runtime.library_match import PACKED, RESULT, Match, Source, match_product, nest_of, rounded_to

# What a library is not asked for, bit by bit: zeros around an image (a kernel before the call writes them); anything
# done with sums (one behind it does); operands of a convolution as the 16 bits that they were rounded to.
APART, PLAIN, WIDE = 1, 2, 4


def less_than(less: int, ask: Product | Convolution) -> int:
    """The bits to try next where `ask`, of the bits `less`, was refused; the same if there is nothing left to try."""
    if isinstance(ask, Convolution) and ask.paddings:
        return less | APART
    if not ask.plain:
        return less & WIDE | PLAIN
    return WIDE if isinstance(ask, Convolution) and ask.dtype in NARROW else less


class LibrarySteps:
    """The steps of one program that are products or convolutions."""

    def __init__(self, program: Program, device: Device, tf32: bool = False):
        self.program, self.device, self.tf32 = program, device, tf32
        self.narrow = narrow_buffers(program)
        self.loaded: dict[Kernel, tuple[CudaSource, list[Any]]] = {}
        self._found: dict[Any, Chosen | str] = {}
        self._plans: dict[tuple[int, ...], Plan] = {}
        self._refused: set[Any] = set()
        self._told: set[tuple[int, ...]] = set()
        self._less: dict[int, int] = {}            # by step (identity): bits of what it is not asked for
        self._unwilling: dict[int, int] = {}       # those of them that are not in plans yet

    # -------------------------------------------------------------- choosing
    def call(self, step: Step, env: Mapping[str, int]) -> Chosen | str | Step:
        """The call that a step is at these sizes, why it is none, or the step whose call does it."""
        return self.plan(env).found.get(id(step), "no contraction")

    def plan(self, env: Mapping[str, int]) -> Plan:
        """All steps' calls, with what they do for each other."""
        key = (*env.values(), sum(self._less.values()))
        if key not in self._plans:
            alone = Plan({id(s): self.find(s, env) for s in self._contractions()})
            self._plans[key] = join(alone, self.program, env, self._less.keys(), lambda s: self.find(s, env, True))
        return self._plans[key]

    def find(self, step: Step, env: Mapping[str, int], signs: bool = False) -> Chosen | str:
        """The call that a step is by itself, or why it is none; `signs`: if relu's bits are handed to it."""
        return self._find(step, env, self._less.get(id(step), 0), signs)

    def _find(self, step: Step, env: Mapping[str, int], less: int, signs: bool = False) -> Chosen | str:
        sizes = compile_dims(step.sizes)(env)
        narrow = self._rounded(step)
        key = step.kernel, sizes, narrow, less, signs
        if key not in self._found:
            self._found[key] = self._choose(*key)
        return self._found[key]

    def _choose(self, kernel: Kernel, sizes: Sequence[int], narrow: tuple[str, str], less: int, signs: bool
                ) -> Chosen | str:
        nest = nest_of(kernel)
        if nest is None:
            return "no contraction"
        numbers = dict(zip(kernel.sizes, sizes))
        reasons = []
        plain, apart, wide = (bool(less & x) for x in (PLAIN, APART, WIDE))
        for kind, matched in ((Product, partial(match_product, signs=signs)),
                              (Convolution, partial(match_convolution, apart=apart, wide=wide))):
            library = self.device.libraries.get(kind)
            try:
                if library is not None:
                    return self._placed(matched(nest, numbers, narrow, self.tf32, plain), library)
            except Refused as e:
                reasons.append(str(e))
        return "; ".join(reasons)

    def _placed(self, found: Match, library: Library) -> Chosen:
        """With places for what the call needs."""
        places, at = [], 0
        for nbytes in (*(p.nbytes for p in found.packs), *([found.room] if found.epilogue is not None else [])):
            places.append(at)
            at += -(-nbytes // ALIGN) * ALIGN
        return Chosen(found, library, tuple(places), at)

    def _rounded(self, step: Step) -> tuple[str, str]:
        """To which narrow type both operands of a step were rounded, before or in its kernel."""
        nest = nest_of(step.kernel)
        if nest is None:
            return "", ""
        named = {p.name: b for p, b in zip(step.kernel.params, step.buffers)}
        out = []
        for side in nest.sides:
            own = rounded_to(side.expr, {let.name: let.expr for let in side.lets})
            load = around.load if (around := padded(side)) else side.load
            out.append(own or (self.narrow.get(named[load.buffer], "") if load else ""))
        return out[0], out[1]

    def scratch(self, env: Mapping[str, int]) -> int:
        """Bytes that the program's calls need besides the arena: what lasts, then what one after another uses."""
        plan = self.plan(env)
        most = plan.lasting + max((c.nbytes for c in plan.found.values() if isinstance(c, Chosen)), default=0)
        return most + ALIGN if most else 0         # to begin at a multiple of it

    def _contractions(self) -> list[Step]:
        return [s for s in flat_steps(self.program.steps) if nest_of(s.kernel) is not None]

    def lines(self, env: Mapping[str, int]) -> list[str]:
        """For each contraction what computes it: a line of text."""
        out = []
        for s in self._contractions():
            found = self.call(s, env)
            layer = next((part[6:] for part in s.origin.split(", ") if part.startswith("layer ")), "")
            head = s.kernel.label + (f" of {layer}" if layer else "")
            if isinstance(found, Chosen):
                around = len(found.match.packs) + (found.match.epilogue is not None)
                out.append(f"{head}: {found.library.name}: {found.match.ask}"
                           + (f", and {around} map{'s' * (around > 1)} around it" if around else "")
                           + (f", for {found.follow[0].kernel.label}" if found.follow is not None else ""))
            else:
                out.append(f"{head}: graphk's kernel: {found}")
        return out

    # -------------------------------------------------------------- recording
    def settle(self) -> bool:
        """Take into plans what must be asked for less; whether there was anything new."""
        before = dict(self._less)
        self._less.update(self._unwilling)
        return self._less != before

    def prepare(self, env: Mapping[str, int]) -> None:
        """Compile what the calls need around them."""
        for s in self._contractions():
            found = self.call(s, env)
            if isinstance(found, Chosen):
                behind = found.follow[1] if found.follow is not None else None
                for kernel in (*(p.kernel for p in found.match.packs), found.match.epilogue, behind):
                    if kernel is not None and kernel not in self.loaded:
                        source = print_cuda(kernel, self.device.threads, self.device.tile)
                        self.loaded[kernel] = source, self.device.load(source)

    def tell(self, env: Mapping[str, int]) -> None:
        """What was chosen for sizes, once, for who watches."""
        if tuple(env.values()) not in self._told:
            self._told.add(tuple(env.values()))
            for line in self.lines(env):
                tell(line)

    def record(self, step: Step, call: Chosen, env: Mapping[str, int], at: Mapping[str, int], scratch: int,
               work: Work) -> bool:
        """Record a step's call; False, and nothing recorded, if the library refuses it.

        What a library refuses is asked for with less in later plans (see `less_than`).
        """
        address = {p.name: at[b] for p, b in zip(step.kernel.params, step.buffers)}
        lasting = scratch + -scratch % ALIGN
        own = [lasting + self.plan(env).lasting + x for x in call.places]
        found, ask = call.match, call.match.ask
        packed = {pack.role: own[i] for i, pack in enumerate(found.packs)}

        def of(source: Source | None, instead: int = 0, dtype: str = ask.result) -> int:
            if source is None:
                return 0
            return address[source.param] + source.offset * ITEMSIZE[dtype] if source.param else instead
        result = own[-1] if found.epilogue is not None else 0
        places = Places(of(found.left, packed.get(0, 0)), of(found.right, packed.get(1, 0)), of(found.out, result),
                        of(found.bias), of(found.added), lasting + call.aux if call.aux >= 0 else of(found.aux),
                        lasting + call.totals if call.totals >= 0 else 0)
        try:
            if isinstance(ask, Product) and places.added == places.out and ask.added not in (None, ask.out):
                raise Refused("the result overwrites what is added to it, in another order")
            if isinstance(ask, Product) and ask.slope and places.aux == places.out:
                raise Refused("the result overwrites what the slope is taken at")
            run = call.library.ask(ask, places)
        except Refused as e:
            less = self._less.get(id(step), 0)
            then = less_than(less, ask)
            if (step, ask) not in self._refused:
                instead = "graphk's kernel" if then == less else {APART: "padded before", PLAIN: "by itself"}.get(
                    then & ~less & ~WIDE, "as float32")
                tell(f"{step.kernel.label}: {instead}: {call.library.name} refused {ask}: {e}")
            self._refused.add((step, ask))
            self._unwilling.update({id(step): then} if then > less else {})
            return False
        sizes = dict(zip(step.kernel.sizes, compile_dims(step.sizes)(env)))
        for pack in found.packs:
            if pack.image is None:
                self._launch(pack.kernel, {**address, PACKED: packed[pack.role]}, sizes, work)
            else:
                self._launch(pack.kernel, {"p0": of(pack.image[0]), "p1": packed[pack.role]},
                             dict(zip(pack.kernel.sizes, pack.image[1])), work)
        work.call(run)
        if found.epilogue is not None:
            self._launch(found.epilogue, {**address, RESULT: places.out}, sizes, work)
        if call.follow is not None:
            other, kernel = call.follow
            theirs = {p.name: at[b] for p, b in zip(other.kernel.params, other.buffers)}
            self._launch(kernel, {**theirs, RESULT: places.totals},
                         dict(zip(other.kernel.sizes, compile_dims(other.sizes)(env))), work)
        return True

    def _launch(self, kernel: Kernel, address: Mapping[str, int], sizes: Mapping[str, int], work: Work) -> None:
        source, functions = self.loaded[kernel]
        args = [*(address[p.name] for p in kernel.params), *(sizes[s] for s in kernel.sizes)]
        for launch, function in zip(source.launches, functions, strict=True):
            work.launch(function, evaluate(launch.blocks, sizes), launch.threads, args)


# ------------------------------------------------------------------ rounded numbers
def narrow_buffers(program: Program) -> dict[str, str]:
    """Buffers of float32 numbers all of which were rounded to one narrow type, and that type.

    Every store to such a buffer rounds, is 0, or copies from such a buffer.
    """
    roots = root_of(program)
    arena = {b.name for b in program.buffers if b.place == "arena" and b.type.dtype == "float32"}
    stores: dict[str, list[tuple[str, str]]] = {}  # storage -> (narrow type or "", storage that was copied or "")
    for s in flat_steps(program.steps):
        named = {p.name: roots[b] for p, b in zip(s.kernel.params, s.buffers)}
        lets = {x.name: x.expr for x in walk(s.kernel.body) if isinstance(x, Let)}
        for x in walk(s.kernel.body):
            if isinstance(x, Store):
                stores.setdefault(named[x.buffer], []).append(_stored(x, lets, named))
    out: dict[str, str] = {}
    while True:
        before = len(out)
        for name, found in stores.items():
            kinds = {kind or out.get(source, "?") for kind, source in found if (kind, source) != ("zero", "")}
            if name in arena and name not in out and len(kinds) == 1 and kinds <= set(NARROW):
                out[name] = kinds.pop()
        if len(out) == before:
            return {name: out[root] for name, root in roots.items() if root in out}


def _stored(x: Store, lets: Mapping[str, Any], named: Mapping[str, str]) -> tuple[str, str]:
    """What a store writes: ("zero" or a narrow type, ""), ("", storage that it copies from), or ("?", "")."""
    e = x.expr
    while isinstance(e, Ref) and e.name in lets:
        e = lets[e.name]
    if x.accumulate:
        return "?", ""
    if isinstance(e, Lit) and e.value == 0:
        return "zero", ""
    return ("", named[e.buffer]) if isinstance(e, Load) else (rounded_to(e, lets) or "?", "")


__all__ = ["Chosen", "LibrarySteps", "narrow_buffers"]
