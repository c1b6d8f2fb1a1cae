"""The device suite: on a GPU where `GRAPHK_TEST_DEVICE=gpu` (`make test-gpu`), on Numba's simulator where
`NUMBA_ENABLE_CUDASIM=1` (`make test-cuda`), skipped otherwise."""
import os

import pytest

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
NAME = os.environ.get("GRAPHK_TEST_DEVICE", "").strip() or ("simulator" if SIMULATED else "")


@pytest.fixture(scope="session")
def device():
    if not NAME:
        pytest.skip("the device suite needs GRAPHK_TEST_DEVICE=gpu (make test-gpu), or NUMBA_ENABLE_CUDASIM=1")
    from graphk.runtime.device import device as named
    return named(NAME if NAME == "simulator" else f"gpu:{int(NAME.removeprefix('gpu').lstrip(':') or 0)}")


@pytest.fixture
def on_device(device, monkeypatch):
    """Models compile for the device."""
    from graphk.frontend import config
    before = config.get("device")
    config.put("device", "simulator" if NAME == "simulator" else NAME)
    yield device
    config.put("device", before)
