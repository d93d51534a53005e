"""Runs that report every layer's time, through stand-ins."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from maskrt.runtime.errors import SessionError
from maskrt.runtime.sessions.trt.session import TrtSession

IMAGES = np.zeros((1, 4, 4, 3), np.uint8)
SIZES = np.array([[4, 3]], np.int32)


def test_profiled_runs_are_queued_and_waited_for_one_by_one(
    write_engine: Any, host_cuda: Any, engine: Any
) -> None:
    seen: list[object] = []
    with TrtSession(write_engine(), cuda_graph=False) as session, session.lease() as context:
        context.upload(IMAGES, SIZES)
        engine.while_running = lambda: seen.append(context._context.profiler)
        host_cuda.log.clear()
        profiler = SimpleNamespace()
        context.execute_profiled(profiler, 3)
        assert host_cuda.log == ["engine", "synchronize"] * 3
        assert host_cuda.read(context.outputs["doubled"]).tolist() == [[8, 6]]
    assert seen == [profiler] * 3
    assert host_cuda.live == {}


def test_a_recorded_context_cannot_be_profiled(write_engine: Any, engine: Any) -> None:
    with TrtSession(write_engine()) as session, session.lease() as context:
        with pytest.raises(
            SessionError, match=r"graph is 'captured'; expected 'off'.*cuda_graph=F"
        ):
            context.execute_profiled(SimpleNamespace(), 1)
        assert session.graph == "captured"


def test_rtx_that_records_inside_cannot_be_profiled(write_engine: Any, rtx_engine: Any) -> None:
    engine = write_engine(runtime="tensorrt-rtx", tensorrt_version="1.7.1.21")
    with (
        TrtSession(engine) as session,
        session.lease() as context,
        pytest.raises(SessionError, match="graph is 'inside TensorRT-RTX'"),
    ):
        context.execute_profiled(SimpleNamespace(), 1)


def test_a_failed_profiled_run_says_so(write_engine: Any, engine: Any) -> None:
    with TrtSession(write_engine(), cuda_graph=False) as session, session.lease() as context:
        engine.runs = False
        with pytest.raises(SessionError, match=r"the engine did not run \(its last error\)"):
            context.execute_profiled(SimpleNamespace(), 1)


def test_a_closed_context_cannot_be_profiled(write_engine: Any, engine: Any) -> None:
    with TrtSession(write_engine(), cuda_graph=False) as session:
        context = session.on_device
    with pytest.raises(SessionError, match="the context is closed"):
        context.execute_profiled(SimpleNamespace(), 1)  # type: ignore[union-attr]
