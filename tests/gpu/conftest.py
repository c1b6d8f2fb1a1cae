"""The device suite: on a simulated GPU, or on a real one where `GRAPHK_TEST_DEVICE=gpu` (`make test-gpu`)."""
import os

import pytest

NAME = os.environ.get("GRAPHK_TEST_DEVICE", "").strip() or "simulator"
SIMULATED = NAME == "simulator"


@pytest.fixture(scope="session")
def device():
    from graphk.frontend import config
    from graphk.runtime.device import device as named
    return named(config.device_name(NAME, "GRAPHK_TEST_DEVICE"))


@pytest.fixture
def on_device(device):
    """Models compile for the device."""
    from graphk.frontend import config
    before = config.get("device")
    config.put("device", NAME)
    yield device
    config.put("device", before)
