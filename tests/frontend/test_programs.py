"""Whole programs, run by the interpreter and by compiled code, against what tf_keras computes."""
import json
import pathlib
import subprocess

import numpy as np
import pytest

import graphk
from tests.frontend import programs
from tests.frontend.programs import custom, functional, recurrent, shapes, training  # noqa: F401

EXPECTED = pathlib.Path(programs.__file__).with_name("expected.json")


@pytest.fixture(scope="module")
def expected():
    return json.loads(EXPECTED.read_text())


def compare(got, want, where):
    """Nested lists and dicts of numbers, all of them close."""
    if isinstance(want, dict):
        assert set(got) == set(want), where
        for k in want:
            compare(got[k], want[k], f"{where}.{k}")
    elif isinstance(want, list) and any(isinstance(v, (list, dict)) for v in want):
        assert len(got) == len(want), where
        for i, (a, b) in enumerate(zip(got, want)):
            compare(a, b, f"{where}[{i}]")
    else:
        np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-5, err_msg=where)


@pytest.mark.filterwarnings("ignore:Discrepancy between trainable weights:UserWarning")     # as Keras warns for GANs
@pytest.mark.parametrize("executor", ["interp", "cpu"])
@pytest.mark.parametrize("name", list(programs.PROGRAMS))
def test_program(name, executor, expected, monkeypatch):
    monkeypatch.setenv("GRAPHK_EXECUTOR", executor)
    compare(programs.flat(programs.PROGRAMS[name](graphk)), expected[name], name)


@pytest.mark.peers
def test_recorded_numbers_are_what_the_peer_computes(expected, tmp_path, peer):
    """Runs every program on tf_keras; GRAPHK_PEER names a Python that has it."""
    out = tmp_path / "expected.json"
    subprocess.run([peer, "-W", "ignore", "-m", "tests.frontend.programs.record", "--out", str(out)], check=True,
                   capture_output=True)
    compare(json.loads(out.read_text()), expected, "expected")
