import pytest

from maskrt.eval.machine.gpu import driver_version, gpu_names, gpu_state


@pytest.mark.skipif(bool(gpu_names()), reason="there is an NVIDIA driver with a GPU here")
def test_without_a_gpu_everything_is_empty():
    assert gpu_names() == []
    assert gpu_state() == {}


@pytest.mark.gpu
@pytest.mark.skipif(not gpu_names(), reason="no NVIDIA driver with a GPU here")
def test_a_gpu_shows_its_name_clocks_and_temperature():
    state = gpu_state()
    assert gpu_names()[0]
    assert driver_version()
    assert 0 < state["sm_clock_mhz"] < 5000
    assert 0 < state["temperature_c"] < 120
    assert isinstance(state["throttled"], list)
