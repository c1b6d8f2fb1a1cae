"""graphk's own benchmarks; `python -m benchmarks` runs them all."""
