"""What Prometheus is told of the service."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from ..batching.batcher import Kind
from ..batching.served import ServedModel
from ..intake.budget import Budget

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one service, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        self._requests = Counter(
            *("maskrt_requests", "Answered requests.", ("route", "status")), registry=registry
        )
        self._seconds = Histogram(
            *("maskrt_request_seconds", "From header to answer.", ("route",)),
            registry=registry,
            buckets=_SECONDS,
        )
        self._batch_seconds = Histogram(
            *("maskrt_batch_seconds", "One batch in the model.", ("model", "kind")),
            registry=registry,
            buckets=_SECONDS,
        )
        self._batch_rows = Histogram(
            *("maskrt_batch_pictures", "Pictures in a batch.", ("model", "kind")),
            registry=registry,
            buckets=_ROWS,
        )
        self._waiting = Gauge(
            *("maskrt_waiting", "Pictures that wait.", ("model",)), registry=registry
        )
        self._held = Gauge(
            "maskrt_held_bytes", "Of bodies and decoded pictures.", registry=registry
        )

    def watch(self, model: ServedModel) -> None:
        """Ask the model's queue for its length whenever metrics are asked for."""
        self._waiting.labels(model.name).set_function(lambda: model.batcher.waiting)

    def watch_held(self, budget: Budget) -> None:
        """Likewise how many bytes are held."""
        self._held.set_function(lambda: budget.held_bytes)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request; `route` is one of ours, never what a client wrote."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def ran(self, model: str, kind: Kind, rows: int, seconds: float) -> None:
        """Count a batch."""
        self._batch_seconds.labels(model, kind.name).observe(seconds)
        self._batch_rows.labels(model, kind.name).observe(rows)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)
