"""What the tests of running programs share."""
import pytest


@pytest.fixture(scope="module")
def executors():
    """One for each number of threads, 1 to 4."""
    from graphk.runtime.executor import Executor
    made = [Executor(threads=k) for k in (1, 2, 3, 4)]
    yield made
    for e in made:
        e.close()
