"""Files that mean harm, one for each way in: `CASES`, and what becomes of each in a process of its own.

In: nothing, or names of cases.  Out: for each case a line of JSON: how its reader ended, what it said, whether a module
beside the file was imported, what was written.  What always holds: a reader runs with 2 GiB more of address space than
it began with, for 10 seconds of work at most, under a hook that ends it where it loads code or starts a program.

`python -m tests.saving.hostile [NAME …]` runs them.
"""
import json
import os
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

from tests.saving import hostile_archives, hostile_configs, hostile_hdf5, hostile_onnx, hostile_texts

CASES = {f"{kind.__name__.rpartition('_')[2]}: {name}": case
         for kind in (hostile_hdf5, hostile_configs, hostile_texts, hostile_archives, hostile_onnx)
         for name, case in kind.CASES.items()}
# Odd, but models that can be made, and that do no harm.
HARMLESS = {"hdf5: hard links that go round", "configs: an input of 4,000 axes", "configs: a padding of 10**12",
            "configs: an image made 10**12 times as large", "configs: 10**12 repetitions",
            "configs: 10**6 steps written out", "configs: two layers of one name",
            "configs: calls counted from the end", "configs: a name that climbs", "configs: a name of a megabyte",
            "configs: a name with zeros and directions", "archives: members that climb",
            "archives: ten thousand members", "archives: a version that is no version",
            "onnx: concatenated 2**60 times", "onnx: twenty thousand nodes", "onnx: an input of -2 axes",
            "onnx: an input of 2**62 numbers"}
SECONDS, MORE = 10, 2 << 30
_FORBIDDEN = ("marshal.load", "pickle.find_class", "os.system", "subprocess.Popen", "os.exec", "os.posix_spawn",
              "os.spawn", "socket.connect", "os.symlink", "code.__new__", "ctypes.dlopen")
CANARY = "canary_of_graphk"                          # a module beside each file, which would say that it was imported


def read(reader, path):
    """Read a file as users do."""
    from graphk import layers as L
    from graphk.models import Sequential, load_model, model_from_json, model_from_yaml
    from graphk.onnx import import_model
    if reader == "weights":
        model = Sequential([L.Dense(3, input_shape=(4,), name="a"), L.Dense(2, name="b")])
        return model.load_weights(path)
    if reader in ("json", "yaml"):
        return (model_from_json if reader == "json" else model_from_yaml)(Path(path).read_text("utf-8"))
    return (import_model if reader == "onnx" else load_model)(path)


def _hook(event, arguments):
    if event.startswith(_FORBIDDEN):
        if sys._getframe(1).f_code.co_filename == "<frozen importlib._bootstrap_external>":
            return                          # Python's import reads compiled modules so; of which ones, the canary tells
        os.write(2, f"the file made its reader do {event} {arguments!r:.200}\n".encode())
        os._exit(66)


def _child(reader, path, out):
    """Read the file, and say how that ended."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MORE, size + MORE))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(10 * SECONDS)                        # whatever it waits for
    sys.path.insert(0, os.path.dirname(path))
    sys.addaudithook(_hook)
    warnings.simplefilter("ignore")
    try:
        read(reader, path)
        ended = ["loaded", ""]
    except Exception as e:
        if not isinstance(e, (ValueError, NotImplementedError)):
            traceback.print_exc()
        ended = [type(e).__name__, str(e)]
    ended.append(CANARY in sys.modules)
    os.write(out, json.dumps(ended).encode())
    os._exit(0)


def outcome(name, folder):
    """(ending, message, whether the canary was imported): an exception's name, `loaded`, or what ended the process."""
    reader, make = CASES[name]
    path = os.path.join(folder, "m." + {"weights": "h5", "hdf5": "h5"}.get(reader, reader))
    Path(folder, CANARY + ".py").write_text("def f(*a):\n    raise SystemExit(67)\n")
    make(path)
    took, give = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(took)
        _child(reader, path, give)
    os.close(give)
    said = b"".join(iter(lambda: os.read(took, 1 << 16), b""))          # to the end of the process
    os.close(took)
    status = os.waitpid(child, 0)[1]
    return tuple(json.loads(said)) if said else ("died", f"the process ended with status {status}", False)


def main(names):
    sys.setrecursionlimit(1000)
    from graphk import backend, models, onnx          # noqa: F401  what readers import, before anything is forked
    import h5py, yaml                                 # noqa: F401, E401
    import onnx.helper, onnx.numpy_helper             # noqa: F401, E401
    for name in names or CASES:
        with tempfile.TemporaryDirectory() as folder:
            inside = os.path.join(folder, "in")
            os.mkdir(inside)
            ended = outcome(name, inside)
            escaped = sorted(os.listdir(folder))
            extra = sorted(set(os.listdir(inside)) - {CANARY + ".py", "__pycache__"} - {
                n for n in os.listdir(inside) if n.startswith(("m.", "secret"))})
        print(json.dumps([name, *ended, [n for n in escaped if n != "in"] + extra]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
