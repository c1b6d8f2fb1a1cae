"""Kill a process while it saves: `python -m tests.fuzz.kill --kills 1000`.

In: how often.  Out: counts of which file was found afterwards.  What always holds: the file at the path is wholly the
one before or wholly the one after; a full disk leaves the one before and raises OSError.
"""
import argparse
import os
import random
import resource
import signal
import tempfile
import time

import numpy as np

from graphk import layers as L
from graphk.models import Sequential, load_model


def model(value):
    """A model whose weights are all `value`."""
    made = Sequential([L.Dense(200, input_shape=(300,)), L.Dense(300)])
    made.compile("adam", "mse")
    made.set_weights([np.full(w.shape, value, "float32") for w in made.get_weights()])
    return made


def found(path):
    """The value that all weights in a file have."""
    values = {float(v) for w in load_model(path).get_weights() for v in np.unique(w)}
    if len(values) != 1:
        raise AssertionError(f"{path} mixes files: its weights are {sorted(values)}")
    return values.pop()


def killed(path, new, r, longest):
    """Fork, save `new` again and again in the child, kill it at some moment, after `longest` seconds at the latest."""
    child = os.fork()
    if child == 0:
        while True:
            new.save(path)
    time.sleep(r.random() * longest)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def kills(count, seed=0):
    """How often the old and the new file were found after `count` kills."""
    r, counts = random.Random(seed), {"old": 0, "new": 0}
    models = {1.: model(1.), 2.: model(2.)}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "m.h5")
        took = []
        for _ in range(3):
            begun = time.monotonic()
            models[1.].save(path)
            took.append(time.monotonic() - begun)
        longest = 2 * min(took)
        for _ in range(count):
            old = found(path)
            killed(path, models[3. - old], r, longest)
            counts["old" if found(path) == old else "new"] += 1
            for name in os.listdir(folder):                # what the killed process was writing
                if name != "m.h5":
                    os.unlink(os.path.join(folder, name))
    return counts


def full_disks(count, seed=0):
    """Save `count` times with room for a part of the file; the old one must be there after each."""
    r, old, new = random.Random(seed), model(1.), model(2.)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "m.h5")
        old.save(path)
        size = os.path.getsize(path)
        for _ in range(count):
            resource.setrlimit(resource.RLIMIT_FSIZE, (r.randrange(size), resource.RLIM_INFINITY))
            try:
                new.save(path)
                raise AssertionError("a file larger than the limit was written")
            except OSError:
                pass
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            if found(path) != 1. or os.listdir(folder) != ["m.h5"]:
                raise AssertionError(f"a full disk left {os.listdir(folder)}")
    return count


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--kills", type=int, default=1000)
    p.add_argument("--seed", type=int, default=0)
    args = p.parse_args()
    print(f"killed {args.kills} times: {kills(args.kills, args.seed)}")
    print(f"disk full {full_disks(args.kills // 10 + 1, args.seed)} times: the old file each time")


if __name__ == "__main__":
    main()
