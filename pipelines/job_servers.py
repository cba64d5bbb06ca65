"""The job server of an engine that takes jobs from one: found or started once, for all stages."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    JobServerOptions,
    PipelineOptions,
    PortableOptions,
)

from copydetect.errors import OptionError, TransientError

if TYPE_CHECKING:
    from apache_beam.runners.portability.job_server import JobServer

PORTABLE, FLINK = "PortableRunner", "FlinkRunner"
_EMBEDDED = "embed"
_ANSWERS_SEC = 30


@dataclass(frozen=True)
class Server:
    """A job server. endpoint: its address; options: names of those that it knows beside Beam's;
    started: the server, where this process has started it."""

    endpoint: str
    options: frozenset[str]
    started: JobServer | None = field(default=None, compare=False)

    def stop(self) -> None:
        """End the server, if this process has started it."""
        if self.started is not None:
            self.started.stop()


def job_server_of(runner: str, flags: Sequence[str]) -> Server | None:
    """The job server that an engine's flags name, or that `FlinkRunner` needs; else None.

    One server serves all stages; Beam would start one for each, and leave it running. OptionError
    where none can be started; TransientError where none answers.
    """
    if runner not in (PORTABLE, FLINK):
        return None
    options = PipelineOptions(list(flags))
    endpoint = options.view_as(PortableOptions).job_endpoint
    if endpoint == _EMBEDDED or (runner == PORTABLE and not endpoint):
        return None  # Beam starts it
    return Server(endpoint, _options_of(endpoint)) if endpoint else _started(options)


def _started(options: PipelineOptions) -> Server | None:
    """Start Flink's job server, in Java; None where jobs go to a cluster without one."""
    from apache_beam.runners.portability.flink_runner import (
        MAGIC_HOST_NAMES,
        FlinkJarJobServer,
        FlinkRunner,
    )

    flink = options.view_as(FlinkRunnerOptions)
    flink.flink_master = FlinkRunner.add_http_scheme(flink.flink_master)
    if flink.flink_submit_uber_jar and flink.flink_master not in MAGIC_HOST_NAMES:
        return None
    port = options.view_as(JobServerOptions)
    port.job_port = port.job_port or _free_port()
    server = FlinkJarJobServer(options)
    try:
        with _deaf_to_interrupts():
            server.start()
    except (OSError, RuntimeError, ValueError) as error:
        raise OptionError(f"cannot start Flink's job server, which needs Java: {error}") from error
    endpoint = f"localhost:{port.job_port}"
    return Server(endpoint, _options_of(endpoint), server)


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Have what is started meanwhile ignore Ctrl-C, which a terminal sends to all processes of a
    command: jobs could not be cancelled through a server that has gone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return int(free.getsockname()[1])


def _options_of(endpoint: str) -> frozenset[str]:
    """Names of the options that a job server describes."""
    import grpc
    from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

    with grpc.insecure_channel(endpoint) as channel:
        try:
            grpc.channel_ready_future(channel).result(_ANSWERS_SEC)
            jobs = beam_job_api_pb2_grpc.JobServiceStub(channel)
            request = beam_job_api_pb2.DescribePipelineOptionsRequest()
            described = jobs.DescribePipelineOptions(request, timeout=_ANSWERS_SEC)
        except (grpc.FutureTimeoutError, grpc.RpcError) as error:
            raise TransientError(
                f"no job server answers at {endpoint}: start it, or correct --job_endpoint"
            ) from error
    return frozenset(option.name for option in described.options)
