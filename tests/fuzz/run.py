"""Feed mutants of model files to their readers: `python -m tests.fuzz.run --mutants 100000`.

In: how many, from which number on, how many processes.  Out: counts of what came of them, and each failure with the
number that repeats it.  What always holds: a mutant may load, or raise GraphkFormatError or another ValueError (of
ONNX also NotImplementedError, which names operators); all else (another exception, a crash, more than 5 seconds, more
than 1 GiB) is a failure.
"""
import argparse
import collections
import concurrent.futures
import faulthandler
import io
import json
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import warnings

LIMIT_S, LIMIT_BYTES = 5., 1 << 30


def read(kind, data):
    """Load a mutant as a user would."""
    from graphk.models import load_model, model_from_json, model_from_yaml
    from graphk.onnx import import_model
    if kind == "onnx":
        with tempfile.NamedTemporaryFile(suffix=".onnx") as f:
            f.write(data)
            f.flush()
            return import_model(f.name)
    if kind in ("hdf5", "keras"):
        return load_model(io.BytesIO(data))
    return (model_from_json if kind == "json" else model_from_yaml)(data.decode("utf-8", "surrogateescape"))


def outcome(kind, data):
    """What a reader makes of a mutant: 'loaded', 'refused', or the failure."""
    begun = time.process_time()                        # whatever else the machine does
    refusals = (ValueError, NotImplementedError) if kind == "onnx" else (ValueError,)         # of unknown operators
    try:
        read(kind, data)
        found = "loaded"
    except refusals as e:
        found = "refused" if str(e).strip() else f"an empty {type(e).__name__}"
    except Exception as e:
        found = f"{type(e).__name__}: {e}"[:300]
    if time.process_time() - begun > LIMIT_S:
        return f"took {time.process_time() - begun:.0f} s, then {found}"
    return found


def work(numbers, results):
    """Try mutants one after the other; each is announced before, so that the parent knows which one kills."""
    from tests.fuzz.mutants import mutant, seeds
    sys.setrecursionlimit(2000)
    warnings.simplefilter("ignore")
    whole = seeds()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from graphk import backend as K
    for i, number in enumerate(numbers):
        kind, data, change = mutant(number, whole)
        results.send((number, kind, change, None))
        faulthandler.dump_traceback_later(12 * LIMIT_S, exit=True)
        found = outcome(kind, data)
        faulthandler.cancel_dump_traceback_later()
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - memory
        if grown > LIMIT_BYTES:
            found, memory = f"took {grown >> 20} MiB, then {found}", memory + grown
        results.send((number, kind, change, found))
        if i % 50 == 0:
            K.clear_session()
    results.send(None)


def watch(numbers, counts, failures):
    """Let one process after another try `numbers`, until all are tried."""
    context = multiprocessing.get_context("spawn")
    numbers = list(numbers)
    while numbers:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(numbers, sender))
        process.start()
        sender.close()
        announced = None
        while True:
            try:
                message = receiver.recv()
            except EOFError:
                process.join()
                if announced is None:
                    raise RuntimeError(f"a worker ended with {process.exitcode} before its first mutant") from None
                how = signal.Signals(-process.exitcode).name if process.exitcode < 0 else \
                    f"exit {process.exitcode} (a hang, if a traceback is shown above)"
                failed(failures, *announced[:3], f"the process died: {how}")
                numbers = numbers[numbers.index(announced[0]) + 1:]
                break
            if message is None:
                process.join()
                return
            announced = message
            number, kind, change, found = message
            if found is None:
                continue
            counts[kind, found if found in ("loaded", "refused") else "failed"] += 1
            if found not in ("loaded", "refused"):
                failed(failures, number, kind, change, found)


def failed(failures, number, kind, change, what):
    print(f"mutant {number} ({kind}, {change}): {what}", flush=True)
    failures.append((number, kind, change, what))


def fuzz(mutants, first=0, processes=1):
    """Counts by (kind, outcome) and the failures [(number, kind, change, what)]."""
    counts, failures = collections.Counter(), []
    with concurrent.futures.ThreadPoolExecutor(processes) as threads:
        for done in [threads.submit(watch, range(first + i, first + mutants, processes), counts, failures)
                     for i in range(processes)]:
            done.result()
    return counts, failures


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--mutants", type=int, default=100_000)
    p.add_argument("--first", type=int, default=0, help="the number of the first mutant")
    p.add_argument("--processes", type=int, default=os.cpu_count())
    p.add_argument("--write", type=int, metavar="NUMBER", help="write this mutant to the file `mutant` instead")
    args = p.parse_args()
    if args.write is not None:
        from tests.fuzz.mutants import mutant, seeds
        kind, data, change = mutant(args.write, seeds())
        with open("mutant", "wb") as f:
            f.write(data)
        print(f"{kind}, {change}: {outcome(kind, data)}")
        return
    begun = time.monotonic()
    counts, failures = fuzz(args.mutants, args.first, args.processes)
    print(json.dumps({f"{kind} {found}": n for (kind, found), n in sorted(counts.items())}))
    print(f"{args.mutants} mutants, {len(failures)} failures, {time.monotonic() - begun:.0f} s")
    raise SystemExit(bool(failures))


if __name__ == "__main__":
    main()
