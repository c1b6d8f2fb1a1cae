"""Two machines: namespaces of this one, between which only TCP goes; Open MPI starts a daemon on the second."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.mpi import ENVIRONMENT, MPIRUN, REASON

ROOT = Path(__file__).parent.parent.parent
APART = ["unshare", "-nmu", *(["-Ur"] if os.geteuid() else [])]
SENT = 100_000                        # bytes: less than the gradients of the steps, more than anything else

PROGRAM = """
import socket
import sys
import numpy as np
import graphk.distributed as hvd
from graphk.layers import Dense
from graphk.models import Sequential
from graphk.optimizers import SGD

hvd.init()
random = np.random.RandomState(0)
x, y = random.rand(128, 30).astype("float32"), random.rand(128, 1).astype("float32")
model = Sequential([Dense(40, activation="tanh", input_shape=(30,)), Dense(1)])
model.set_weights([random.standard_normal(w.shape) * (0.3 if hvd.rank() == 0 else 9) for w in model.get_weights()])
model.compile(hvd.DistributedOptimizer(SGD(0.1, momentum=0.9)), "mse")
model.fit(x[hvd.rank()::hvd.size()], y[hvd.rank()::hvd.size()], batch_size=16 // hvd.size(), epochs=5, verbose=0,
          shuffle=False, callbacks=[hvd.callbacks.BroadcastGlobalVariablesCallback(0)])
np.savez(f"{sys.argv[1]}{hvd.rank()}.npz", *model.get_weights())
sent = sum(int(line.split()[9]) for line in open("/proc/net/dev") if "cable" in line)
print("on", socket.gethostname(), hvd.rank(), hvd.size(), hvd.local_rank(), hvd.local_size(), sent, flush=True)
"""


def refused():
    """Why there can be no two machines here; "" where there can."""
    if MPIRUN is None:
        return REASON
    missing = [name for name in ("unshare", "nsenter", "ip", "mount", "hostname") if shutil.which(name) is None]
    if missing:
        return f"needs {', '.join(missing)}"
    tried = subprocess.run([*APART, "ip", "link", "add", "dev", "cable0", "type", "veth", "peer", "name", "cable1"],
                           capture_output=True, text=True)
    return tried.stderr.strip() and f"no namespaces here: {tried.stderr.strip()}"


@pytest.mark.skipif(bool(refused()), reason=refused() or "-")
def test_two_machines_train_as_one_process_does(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    second = tmp_path / "second"
    own = {k: v for k, v in ENVIRONMENT.items() if "mapping" not in k and "oversubscribe" not in k}   # a slot on each
    env = {**os.environ, **own, "PYTHONPATH": str(ROOT), "OMPI_MCA_plm_rsh_agent": str(second),
           "PRTE_MCA_plm_ssh_agent": str(second)}                     # the one before is Open MPI 4's name of it
    subprocess.run([sys.executable, "program.py", "one"], cwd=tmp_path, env=env, check=True, capture_output=True)
    run = [MPIRUN, "-n", "2", "-H", "first:1,second:1", "--mca", "btl_tcp_if_include", "10.77.0.0/24", "-x",
           "PYTHONPATH", sys.executable, "program.py", "two"]
    apart = [*APART, str(Path(__file__).with_name("two_machines.sh")), str(tmp_path / "hosts"), str(second)]
    done = subprocess.run([*apart, *run], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    said = sorted(line.split()[1:] for line in done.stdout.splitlines() if line.startswith("on "))
    assert [words[:-1] for words in said] == [["first", "0", "2", "0", "1"], ["second", "1", "2", "0", "1"]]
    assert all(int(words[-1]) > SENT for words in said), "the gradients did not go over the cable"
    one, first, other = (np.load(tmp_path / f"{name}.npz") for name in ("one0", "two0", "two1"))
    for key in one:
        np.testing.assert_array_equal(first[key], other[key])
        np.testing.assert_allclose(first[key], one[key], rtol=1e-4, atol=1e-6)
