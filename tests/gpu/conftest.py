"""The device suite: on a simulated GPU, or where `GRAPHK_TEST_DEVICE` says: `gpu`, a real one (`make test-gpu`); `ptx`
(or `ptx:7.5`), the PTX of all kernels on a machine in Python (`make test-ptx`)."""
import os

import pytest

NAME = os.environ.get("GRAPHK_TEST_DEVICE", "").strip() or "simulator"
PTX = NAME.split(":")[0] == "ptx"
CAPABILITY = tuple(int(x) for x in (NAME.partition(":")[2] or "9.0").split(".")) if PTX else (9, 0)
SIMULATED = PTX or NAME == "simulator"                 # nothing here is a GPU


def ptx_device(capability=CAPABILITY, **options):
    """(driver, device) whose kernels are PTX, warp after warp; it is opened as a real one is."""
    from graphk.runtime import device_cuda
    from tests.gpu.ptx_driver import PtxDriver
    driver = PtxDriver(capability, apart=True, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device_cuda, "find_driver", lambda: driver)
        patch.setattr(device_cuda, "find_library", lambda name: None)
        return driver, device_cuda.open_device(0)


@pytest.fixture(scope="session")
def device():
    from graphk.frontend import config
    from graphk.runtime import device as devices
    if not PTX:
        return devices.device(config.device_name(NAME, "GRAPHK_TEST_DEVICE"))
    devices._devices["gpu:0"] = ptx_device()[1]
    return devices._devices["gpu:0"]


@pytest.fixture
def on_device(device):
    """Models compile for the device."""
    from graphk.frontend import config
    before = config.get("device")
    config.put("device", "gpu:0" if PTX else NAME)
    yield device
    config.put("device", before)
