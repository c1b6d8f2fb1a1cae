"""Every function of `K` says what it does with an example, and the examples show what happens."""
import doctest
import inspect

import numpy as np
import pytest

from graphk import backend as K
from graphk.frontend import config

FUNCTIONS = sorted(n for n in K.__all__ if callable(getattr(K, n)))
RUNNER_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(autouse=True)
def fresh():
    K.clear_session()
    yield
    K.clear_session()
    for name, value in config.DEFAULTS.items():
        config.put(name, value)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_example_runs(name):
    f = getattr(K, name)
    tests = [t for t in doctest.DocTestFinder(recurse=False).find(f, name, globs={"K": K, "np": np}) if t.examples]
    assert tests, f"K.{name} has no example"
    runner, out = doctest.DocTestRunner(verbose=False, optionflags=RUNNER_OPTIONS), []
    for test in tests:
        runner.run(test, out=out.append)
    assert runner.failures == 0, "".join(out)


def test_documented_functions_are_the_public_ones():
    assert len(FUNCTIONS) > 150
    assert all(inspect.getdoc(getattr(K, n)) for n in FUNCTIONS)
