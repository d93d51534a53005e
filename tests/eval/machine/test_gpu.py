"""The driver's view of a GPU: NVIDIA's binding on a scripted driver, and the real one."""

import ctypes
import sys

import pytest

from maskrt.eval.machine import gpu
from maskrt.eval.machine.gpu import driver_version, gpu_names, gpu_state

pynvml = pytest.importorskip("pynvml")
HERE = bool(gpu_names())

SUCCESS, NOT_SUPPORTED = 0, 3  # nvmlReturn_t
STATE = {
    "sm_clock_mhz": 1980,
    "memory_clock_mhz": 2619,
    "temperature_c": 41,
    "power_w": 123.456,
    "throttled": ["power cap", "hardware thermal"],
}


class Driver:
    """Stands in for libnvidia-ml with one GPU; calls named in `unsupported` say so."""

    def __init__(self, *unsupported, absent=()):
        self.unsupported, self.absent = unsupported, absent

    def __getattr__(self, name):
        if name in self.absent:
            raise AttributeError(name)

        def call(*arguments):
            if name in self.unsupported:
                return NOT_SUPPORTED
            answer = ANSWERS.get(name)
            if answer is not None:
                answer(*arguments)
            return SUCCESS

        return call


def number(value):
    def answer(*arguments):
        arguments[-1]._obj.value = value

    return answer


def text(value):
    def answer(*arguments):
        (buffer,) = (a for a in arguments if isinstance(a, ctypes.Array))
        buffer.value = value

    return answer


def clock(_handle, domain, pointer):
    pointer._obj.value = {1: 1980, 2: 2619}[getattr(domain, "value", domain)]


ANSWERS = {
    "nvmlDeviceGetCount_v2": number(1),
    "nvmlDeviceGetName": text(b"NVIDIA H100"),
    "nvmlSystemGetDriverVersion": text(b"580.65.06"),
    "nvmlDeviceGetClockInfo": clock,
    "nvmlDeviceGetTemperature": number(41),
    "nvmlDeviceGetPowerUsage": number(123_456),
    "nvmlDeviceGetCurrentClocksEventReasons": number(0x4 | 0x40 | 0x1),  # 0x1: idle
    "nvmlDeviceGetCurrentClocksThrottleReasons": number(0x80),
}


@pytest.fixture
def driver(monkeypatch):
    """Puts a `Driver` under NVIDIA's binding, in CUDA's place too."""

    def install(made):
        monkeypatch.setattr(pynvml, "nvmlLib", made)
        monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
        monkeypatch.setattr(gpu, "missing_device", lambda: "no CUDA here")
        gpu._nvml.cache_clear()

    yield install
    gpu._nvml.cache_clear()


@pytest.mark.skipif(HERE, reason="there is an NVIDIA driver with a GPU here")
def test_without_a_gpu_everything_is_empty():
    assert gpu_names() == []
    assert driver_version() == ""
    assert gpu_state() == {}


def test_a_driver_tells_names_version_and_state(driver):
    driver(Driver())
    assert gpu_names() == ["NVIDIA H100"]
    assert driver_version() == "580.65.06"
    assert gpu_state() == STATE


def test_what_a_driver_does_not_support_is_left_out(driver):
    """As under WSL and on MIG parts: no reading is 0 MHz or 0 W."""
    driver(Driver("nvmlDeviceGetClockInfo", "nvmlDeviceGetPowerUsage"))
    assert gpu_state() == {k: STATE[k] for k in ("temperature_c", "throttled")}
    driver(Driver("nvmlDeviceGetHandleByIndex_v2", "nvmlSystemGetDriverVersion"))
    assert (gpu_names(), driver_version(), gpu_state()) == ([], "", {})


def test_without_nvidias_binding_there_is_no_gpu(driver, monkeypatch):
    driver(Driver())
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert (gpu_names(), driver_version(), gpu_state()) == ([], "", {})


def test_drivers_before_r535_have_the_old_name_of_the_reasons(driver):
    driver(Driver(absent=["nvmlDeviceGetCurrentClocksEventReasons"]))
    assert gpu_state()["throttled"] == ["power brake"]


def test_a_gpu_is_found_by_the_bus_id_that_cuda_gives(driver, monkeypatch):
    asked = []
    driver(Driver())
    monkeypatch.setattr(gpu, "missing_device", lambda: None)
    monkeypatch.setattr(gpu, "load_cuda", lambda: Cuda)
    by_bus = pynvml.nvmlDeviceGetHandleByPciBusId
    monkeypatch.setattr(
        pynvml, "nvmlDeviceGetHandleByPciBusId", lambda bus: (asked.append(bus), by_bus(bus))[1]
    )
    assert gpu_state(1)["temperature_c"] == 41
    assert asked == ["0000:3B:00.0"]


class Cuda:
    @staticmethod
    def cudaDeviceGetPCIBusId(length, device):
        assert device == 1
        return 0, b"0000:3B:00.0\0".ljust(length)


@pytest.mark.gpu
@pytest.mark.skipif(not HERE, reason="no NVIDIA driver with a GPU here")
def test_a_gpu_shows_its_name_clocks_and_temperature():
    state = gpu_state()
    assert gpu_names()[0]
    assert driver_version()
    assert 0 < state["sm_clock_mhz"] < 5000
    assert 0 < state["temperature_c"] < 120
    assert isinstance(state["throttled"], list)
