"""The executor's native part, as source in the kernel dialect.

In goes nothing; out comes ``source`` with the entries ``execute`` (one thread), ``launch`` (the calling thread of
several), ``worker`` (every other thread, until ``stop``), and the layout of the words they share. It always holds
that a job, once begun, ends within the same native call, which wakes sleeping workers too, so that no signal comes
between; that no entry touches a Python object except through the public fields of numpy arrays that the caller keeps
alive, that guards are checked before anything is written, and that a thread takes part in a job only after it
read the job's thread count and number in one word.

Binding (int64 words): ``B_MAGIC``, ``B_GUARDS``/``B_GUARD_COUNT``, ``B_PATCHES``/``B_PATCH_COUNT``,
``B_STEPS``/``B_STEP_COUNT`` give word offsets and counts; ``B_TYPE`` is the address of ``numpy.ndarray``.

- guard, one per extern, in order: [dtype address, required flag bits, nd, dim 0, …, dim nd-1];
- patch: [extern index, address of an argument slot, bytes]: the slot receives the array's data address plus bytes;
- step: [opcode, a, b, c] with
  ``CALL``       a = function, b = argument slots, c = flags (bit 0: barrier after): every thread calls f(b, tid, nt);
  ``CALL0``      the same, thread 0 only: f(b, 0, 1);
  ``LOOP_BEGIN`` a = trips, b = bump table, c = index of the matching LOOP_END;
  ``LOOP_END``   a = index of the LOOP_BEGIN, b = 1 if the loop is one thread's own, which waits for nobody;
  ``PARTS``      a = table of step indices: thread i goes on at the i-th;
  ``PART_CALL``  the same as CALL, but for one thread's own part: f(b, 0, 1);
  ``PART_END``   a = index of the last step of all parts, where every thread goes on after a barrier;
- bump table: [count, (address of an argument slot, bytes) * count], added after every trip but the last, after
  which the slots get their first values back. LOOP_END is a barrier, whose last thread moves the slots before it lets
  the others go. Loops nest up to 64 deep.
"""

from __future__ import annotations

import textwrap

MAGIC = 0x67726B31
B_MAGIC, B_GUARDS, B_GUARD_COUNT, B_PATCHES, B_PATCH_COUNT, B_STEPS, B_STEP_COUNT, B_TYPE = range(8)
HEADER_WORDS = 8

CALL, CALL0, LOOP_BEGIN, LOOP_END, PARTS, PART_CALL, PART_END = range(7)
BARRIER_AFTER = 1
MAX_DEPTH = 64

# Shared words, each on cache lines of its own.
LINE = 16
S_JOB, S_ARRIVED, S_TURN, S_BINDING, S_THREADS, S_STOP, S_SPIN, S_LINGER = (i * LINE for i in range(8))
S_WORKERS = 8 * LINE
# Per worker: whether it sleeps, whether a thread has this place, last job seen; then a POSIX semaphore.
W_PARKED, W_TAKEN, W_LAST, W_SEMAPHORE = 0, 1, 2, 8
MAX_THREADS = 255

DONE = 0


def state_words(threads: int) -> int:
    """Size of the shared words for ``threads`` threads, in int64."""
    return S_WORKERS + threads * LINE


# Checks every extern; leaves ``bad`` = index of the first misfit + 1, or 0.
_GUARDS = """
bad = 0
g = at(binding, binding[{B_GUARDS}])
e = 0
guards = binding[{B_GUARD_COUNT}]
while e < guards:
    o = i64_ptr(externs[e])
    nd = g[2]
    ok = o[{HEAD} - 1] == binding[{B_TYPE}]
    if ok:
        ok = o[{HEAD} + 5] == g[0]
    if ok:
        ok = to_i64(i32_ptr(address_of(at(o, {HEAD} + 1)))[0]) == nd
    if ok:
        ok = (to_i64(i32_ptr(address_of(at(o, {HEAD} + 6)))[0]) & g[1]) == g[1]
    if ok:
        dims = i64_ptr(o[{HEAD} + 2])
        d = 0
        while d < nd:
            if dims[d] != g[3 + d]:
                ok = False
            d += 1
    e += 1
    if not ok:
        bad = e
        e = guards
    g = at(g, 3 + nd)
"""

_PATCH = """
table = at(binding, binding[{B_PATCHES}])
for r in range(binding[{B_PATCH_COUNT}]):
    source = i64_ptr(externs[table[3 * r]])
    slot = i64_ptr(table[3 * r + 1])
    slot[0] = source[{HEAD}] + table[3 * r + 2]
"""

_BARRIER = """
if nt > 1:
    turn = load_acquire(state, {S_TURN})
    if fetch_add(state, {S_ARRIVED}, 1) == nt - 1:
        store_release(state, {S_ARRIVED}, 0)
        store_release(state, {S_TURN}, turn + 1)
    else:
        @WAIT
"""

_WAIT = """
spins = 0
limit = state[{S_SPIN}]
while load_acquire(state, {S_TURN}) == turn:
    pause()
    spins += 1
    if spins > limit:
        yield_cpu()
"""

_STEPS = """
steps = at(binding, binding[{B_STEPS}])
count = binding[{B_STEP_COUNT}]
trip = stack_i64()
depth = 0
s = 0
while s < count:
    step = at(steps, 4 * s)
    wait = 0
    if step[0] == {CALL}:
        call_kernel(step[1], step[2], me, nt)
        wait = step[3] & {BARRIER_AFTER}
    elif step[0] == {CALL0}:
        if me == 0:
            call_kernel(step[1], step[2], 0, 1)
        wait = step[3] & {BARRIER_AFTER}
    elif step[0] == {PART_CALL}:
        call_kernel(step[1], step[2], 0, 1)
    elif step[0] == {PARTS}:
        s = i64_ptr(step[1])[me] - 1
    elif step[0] == {PART_END}:
        s = step[1]
        wait = {BARRIER_AFTER}
    elif step[0] == {LOOP_BEGIN}:
        if step[1] <= 0:
            s = step[3]
        else:
            trip[depth] = 0
            depth += 1
    else:
        begin = at(steps, 4 * step[1])
        trips = begin[1]
        done = trip[depth - 1] + 1
        trip[depth - 1] = done
        turn = load_acquire(state, {S_TURN})
        own = step[2] == 1
        if nt == 1:
            own = True
        moves = own
        if not moves:
            moves = fetch_add(state, {S_ARRIVED}, 1) == nt - 1
        if moves:
            bumps = i64_ptr(begin[2])
            for r in range(bumps[0]):
                slot = i64_ptr(bumps[1 + 2 * r])
                if done < trips:
                    slot[0] = slot[0] + bumps[2 + 2 * r]
                else:
                    slot[0] = slot[0] - bumps[2 + 2 * r] * (trips - 1)
            if not own:
                store_release(state, {S_ARRIVED}, 0)
                store_release(state, {S_TURN}, turn + 1)
        else:
            @WAIT
        if done < trips:
            s = step[1]
        else:
            depth -= 1
    if wait != 0:
        @BARRIER
    s += 1
"""

_TEMPLATE = """
def execute(args, tid, nt) -> "i64":
    binding = args
    externs = i64_ptr(tid)
    state = args
    me = 0
    nt = 1
    @GUARDS
    if bad != 0:
        return bad
    @PATCH
    @STEPS
    return {DONE}

def launch(args, tid, nt) -> "i64":
    state = args
    binding = i64_ptr(tid)
    externs = i64_ptr(nt)
    nt = state[{S_THREADS}]
    me = 0
    @GUARDS
    if bad != 0:
        return bad
    @PATCH
    state[{S_BINDING}] = tid
    job = load_acquire(state, {S_JOB})
    store_release(state, {S_JOB}, (job // 256 + 1) * 256 + nt)
    for w in range(1, nt):
        if swap(state, {S_WORKERS} + w * {LINE} + {W_PARKED}, 0) == 1:
            sem_post(state, {S_WORKERS} + w * {LINE} + {W_SEMAPHORE})
    @STEPS
    @BARRIER
    return {DONE}

def stop(args, tid, nt) -> "i64":
    store_release(args, {S_STOP}, 1)
    for w in range(1, nt):
        sem_post(args, {S_WORKERS} + w * {LINE} + {W_SEMAPHORE})
    return {DONE}

def worker(args, tid, nt) -> "i64":
    state = args
    me = tid
    mine = {S_WORKERS} + tid * {LINE}
    if swap(state, mine + {W_TAKEN}, 1) == 1:
        return {DONE}
    while load_acquire(state, {S_STOP}) == 0:
        last = state[mine + {W_LAST}]
        idle = 0
        linger = state[{S_LINGER}]
        while load_acquire(state, {S_JOB}) == last and idle < linger:
            pause()
            idle += 1
        if load_acquire(state, {S_JOB}) == last:
            swap(state, mine + {W_PARKED}, 1)
            if load_acquire(state, {S_JOB}) == last and load_acquire(state, {S_STOP}) == 0:
                sem_wait(state, mine + {W_SEMAPHORE})
            swap(state, mine + {W_PARKED}, 0)
        job = load_acquire(state, {S_JOB})
        if job != last:
            state[mine + {W_LAST}] = job
            nt = job % 256
            if me < nt:
                binding = i64_ptr(state[{S_BINDING}])
                @STEPS
                @BARRIER
    return {DONE}
"""

ENTRIES = ("execute", "launch", "stop", "worker")


def _expand(text: str, parts: dict[str, str]) -> str:
    """Replace a line ``@NAME`` by the part of that name, indented like the line."""
    out: list[str] = []
    for line in text.splitlines():
        name = line.strip()
        if name.startswith("@"):
            out.append(textwrap.indent(_expand(parts[name[1:]].strip("\n"), parts), line[: line.index("@")]))
        else:
            out.append(line)
    return "\n".join(out)


def source(head_words: int) -> str:
    """The dialect source; ``head_words`` is the size of a Python object's header in 8-byte words."""
    parts = {"GUARDS": _GUARDS, "PATCH": _PATCH, "BARRIER": _BARRIER, "WAIT": _WAIT, "STEPS": _STEPS}
    values = {name: value for name, value in globals().items() if isinstance(value, int)}
    return _expand(_TEMPLATE, parts).format(HEAD=head_words, **values) + "\n"
