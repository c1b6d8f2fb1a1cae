"""graphk's own benchmarks; `python -m benchmarks` runs them all, on the CPU unless `GRAPHK_FLAGS` says otherwise."""
import os

os.environ.setdefault("GRAPHK_FLAGS", "device=cpu")
