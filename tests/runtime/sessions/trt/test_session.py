"""The run loop through stand-ins: order of calls, graphs, the pool, memory and releases.

The loop itself runs in tests/engines/test_gpu.py, on a GPU.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from maskrt.runtime.errors import InputError, MaskRTWarning, SessionError
from maskrt.runtime.sessions.trt.session import TrtSession

IMAGES = np.zeros((1, 4, 4, 3), np.uint8)
SIZES = np.array([[4, 3]], np.int32)


def test_outputs_are_copied_and_stay_the_callers(
    write_engine: Any, host_cuda: Any, engine: Any, way: Any
) -> None:
    before = set(host_cuda.live)
    with TrtSession(write_engine(), **way.options) as session:
        assert (str(session.backend), session.contract.variant) == ("tensorrt", "tiny")
        first = session.run(IMAGES, SIZES)
        second = session.run(IMAGES, SIZES - 1)
        # two memories per tensor, two graphs, a stream unless it is the caller's
        assert len(host_cuda.live) - len(before) == 2 * 3 + 2 + way.owns_stream
    assert first["doubled"].tolist() == [[8, 6]]
    assert second["doubled"].tolist() == [[6, 4]]
    assert set(host_cuda.live) == before


@pytest.mark.parametrize("contexts", [1, 2])
def test_another_gpu_is_used_and_the_threads_own_stays_current(
    write_engine: Any, host_cuda: Any, engine: Any, contexts: int
) -> None:
    seen: list[int] = []
    engine.while_running = lambda: seen.append(host_cuda.cudaGetDevice()[1])
    with TrtSession(write_engine(), 1, contexts=contexts) as session:
        assert session.device_index == 1
        assert host_cuda.cudaGetDevice() == (0, 0)
        session.run(IMAGES, SIZES)
        assert host_cuda.cudaGetDevice() == (0, 0)
    assert set(seen) == set(host_cuda.made_on.values()) == {1}
    assert (host_cuda.cudaGetDevice(), host_cuda.live) == ((0, 0), {})


def test_run_that_tensorrt_refuses_is_an_error_with_its_words(
    write_engine: Any, host_cuda: Any, engine: Any
) -> None:
    path = write_engine()
    with TrtSession(path, cuda_graph=False) as session:
        engine.runs = False
        with pytest.raises(SessionError, match=r"did not run \(its last error\)"):
            session.run(IMAGES, SIZES)
    with pytest.raises(SessionError, match=r"did not run \(its last error\)"):
        TrtSession(path)
    assert host_cuda.live == {}


def test_too_little_memory_releases_what_was_taken(
    write_engine: Any, host_cuda: Any, engine: Any
) -> None:
    engine.has_memory = False
    with pytest.raises(SessionError, match="no execution context"):
        TrtSession(write_engine())
    assert host_cuda.live == {}


@pytest.mark.parametrize("succeed", range(12))
def test_memory_that_ends_anywhere_is_given_back(
    write_engine: Any, host_cuda: Any, engine: Any, succeed: int
) -> None:
    host_cuda.fails_at = succeed  # two contexts make 2 x 3 x 2 allocations
    with pytest.raises(SessionError, match="cudaErrorMemoryAllocation: its sentence"):
        TrtSession(write_engine(), contexts=2)
    assert host_cuda.live == {}


def test_an_allocator_that_fails_is_quoted(write_engine: Any, host_cuda: Any, engine: Any) -> None:
    def mem_alloc(nbytes: int) -> None:
        raise RuntimeError("cuMemAlloc failed: out of memory")

    with pytest.raises(SessionError, match=r"gave no 48 bytes \(cuMemAlloc failed: out of memory"):
        TrtSession(write_engine(), allocator=mem_alloc)
    assert host_cuda.live == {}


def test_a_real_run_comes_before_the_recording_and_runs_are_one_launch(
    write_engine: Any, host_cuda: Any, engine: Any
) -> None:
    with TrtSession(write_engine()) as session:
        assert session.graph == "captured"
        warm_up = ["copy", "copy", "engine", "copy", "synchronize"]
        assert host_cuda.log == [*warm_up, "record", "record"]
        host_cuda.log.clear()
        session.run(IMAGES, SIZES)
        assert host_cuda.log == ["launch", *warm_up]


def test_without_a_graph_the_same_work_is_queued_call_by_call(
    write_engine: Any, host_cuda: Any, engine: Any
) -> None:
    with TrtSession(write_engine(), cuda_graph=False) as session:
        assert session.graph == "off"
        assert session.run(IMAGES, SIZES)["doubled"].tolist() == [[8, 6]]
    assert {"record", "launch"}.isdisjoint(host_cuda.log)


@pytest.mark.parametrize("who", ["tensorrt", "cuda"])
def test_a_recording_that_fails_is_told_and_runs_go_on(
    write_engine: Any, host_cuda: Any, engine: Any, who: str
) -> None:
    engine.records, host_cuda.captures = who != "tensorrt", who != "cuda"
    reason = "its last error" if who == "tensorrt" else "cudaErrorStreamCaptureInvalidated"
    with pytest.warns(MaskRTWarning, match=f"no CUDA graph could be recorded.*{reason}") as told:
        session = TrtSession(write_engine())
    assert told[0].filename == __file__  # whoever opened the session
    with session:
        assert reason in session.graph
        assert host_cuda.log[-1] == "clear error"
        assert session.run(IMAGES, SIZES)["doubled"].tolist() == [[8, 6]]
        assert "launch" not in host_cuda.log
    assert host_cuda.live == {}


def test_the_engine_alone_runs_without_copies(
    write_engine: Any, host_cuda: Any, engine: Any
) -> None:
    with TrtSession(write_engine()) as session:
        assert session.on_device is not None
        session.on_device.upload(IMAGES, SIZES)
        host_cuda.log.clear()
        session.on_device.execute()
        assert host_cuda.log == ["launch", "engine", "synchronize"]
        with session.lease() as context:
            doubled = context.outputs["doubled"]
            assert host_cuda.read(doubled).tolist() == [[8, 6]]


def test_as_many_threads_run_at_once_as_there_are_contexts(write_engine: Any, engine: Any) -> None:
    both = threading.Barrier(2, timeout=30)
    sizes = [np.array([[1 + i % 4, 1 + i // 4]], np.int32) for i in range(16)]
    with TrtSession(write_engine(), contexts=2) as session, ThreadPoolExecutor(2) as pool:
        engine.while_running = both.wait  # each run waits for one beside it
        found = list(pool.map(lambda one: session.run(IMAGES, one)["doubled"], sizes))
    assert [one.tolist() for one in found] == [(2 * one).tolist() for one in sizes]


def test_threads_that_share_one_context_wait(write_engine: Any, engine: Any) -> None:
    inside, crowd = threading.Semaphore(1), []

    def alone() -> None:
        crowd.append(inside.acquire(blocking=False))
        time.sleep(0.001)  # long enough for another thread to come in, if it could
        inside.release()

    sizes = [np.array([[1 + i % 4, 1]], np.int32) for i in range(32)]
    with TrtSession(write_engine()) as session, ThreadPoolExecutor(8) as pool:
        engine.while_running = alone
        found = list(pool.map(lambda one: session.run(IMAGES, one)["doubled"], sizes))
    assert [one.tolist() for one in found] == [(2 * one).tolist() for one in sizes]
    assert crowd == [True] * 32


def test_closing_waits_for_what_runs(write_engine: Any, host_cuda: Any, engine: Any) -> None:
    session = TrtSession(write_engine())
    closer = threading.Thread(target=session.close)
    with session.lease() as context:
        closer.start()
        closer.join(timeout=0.05)
        assert closer.is_alive()
        assert context.run(IMAGES, SIZES)["doubled"].tolist() == [[8, 6]]
    closer.join(timeout=30)
    assert host_cuda.live == {}
    with pytest.raises(SessionError, match="the context is closed"):
        context.run(IMAGES, SIZES)


@pytest.mark.parametrize("contexts", [1, 3])
def test_device_memory_is_told(write_engine: Any, engine: Any, contexts: int) -> None:
    buffers_bytes = IMAGES.nbytes + SIZES.nbytes + 2 * 4
    with TrtSession(write_engine(), contexts=contexts) as session:
        assert session.device_memory_bytes == contexts * (1000 + buffers_bytes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"contexts": 0}, "0 contexts asked for; expected 1 or more"),
        ({"contexts": 2, "stream": 7}, "2 contexts on one stream.*expected 1"),
        ({"stream": 0}, "the default stream found"),
        ({"stream": SimpleNamespace(cuda_stream=1)}, "the default stream found"),
        ({"stream": "fast"}, "stream: str found; expected an int"),
    ],
    ids=["none", "one stream", "default", "torch default", "no stream"],
)
def test_odd_options_are_input_errors(
    write_engine: Any, host_cuda: Any, engine: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        TrtSession(write_engine(), **options)
    assert host_cuda.live == {}


def test_each_thread_runs_on_the_sessions_gpu(
    write_engine: Any, host_cuda: Any, engine: Any
) -> None:
    seen: list[int] = []
    with TrtSession(write_engine(), device=1) as session, ThreadPoolExecutor(1) as pool:
        engine.while_running = lambda: seen.append(host_cuda.cudaGetDevice()[1])
        pool.submit(session.run, IMAGES, SIZES).result()
        after = pool.submit(host_cuda.cudaGetDevice).result()
    assert seen == [1]
    assert after == (0, 0)  # as the thread had it
