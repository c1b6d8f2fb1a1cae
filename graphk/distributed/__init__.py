"""Training in several processes, as `horovod.keras` has it: see docs/howto/several-machines.md."""
from graphk.distributed import callbacks
from graphk.frontend.distributed import (
    DistributedError,
    DistributedOptimizer,
    allreduce,
    broadcast,
    broadcast_variables,
    init,
    load_model,
    local_rank,
    local_size,
    rank,
    size,
)

__all__ = ["DistributedError", "DistributedOptimizer", "allreduce", "broadcast", "broadcast_variables", "callbacks",
           "init", "load_model", "local_rank", "local_size", "rank", "size"]
