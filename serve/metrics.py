"""What Prometheus can read at /metrics."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)  # bounds of the histogram


class Metrics:
    """The counters of one server."""

    def __init__(self, unfinished: Callable[[], int]) -> None:
        """Make them. unfinished: gives how many videos wait or are worked on."""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._accepted = Counter("dfdc_videos_accepted", "Videos accepted", registry=self._registry)
        self._bytes = Counter("dfdc_upload_bytes", "Bytes of the videos accepted", registry=self._registry)
        self._refused = Counter("dfdc_requests_refused", "Requests refused", ["status"], registry=self._registry)
        self._done = Counter("dfdc_videos_done", "Videos with an answer", ["status"], registry=self._registry)
        self._seconds = Histogram(
            "dfdc_answer_seconds", "From acceptance to the answer", buckets=SECONDS, registry=self._registry
        )
        self._deaths = Counter("dfdc_worker_deaths", "Workers that ended by themselves", registry=self._registry)
        Gauge("dfdc_videos_unfinished", "Videos that wait or are worked on", registry=self._registry).set_function(
            unfinished
        )

    def accepted(self, size: int) -> None:
        """A video of `size` bytes has been accepted."""
        self._accepted.inc()
        self._bytes.inc(size)

    def refused(self, status: int) -> None:
        """A request was refused with a status of HTTP."""
        self._refused.labels(str(status)).inc()

    def done(self, status: str, seconds: float) -> None:
        """A video has its answer, so many seconds after it was accepted."""
        self._done.labels(status).inc()
        self._seconds.observe(seconds)

    def worker_died(self) -> None:
        """A worker has ended by itself."""
        self._deaths.inc()

    def text(self) -> bytes:
        """All of them in the text format of Prometheus."""
        return generate_latest(self._registry)
