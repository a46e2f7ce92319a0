"""Jobs on Google Cloud Dataflow: fitting options, and the job request as it is sent.

    Create ─ Read plan ─ Split shards ─┐ machine_type               (no GPU)
                                       └> Encode units              (accelerator hint: a GPU,
                                                                    own machine type, one process,
                                                                    a few threads)

A resource hint requests the GPU for the one step that uses it ("right fitting"): shards are listed,
split and hashed on machines without a GPU. Sources: Google's pages on GPUs with Dataflow, right
fitting and custom containers, and Beam's options.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from apache_beam import Pipeline
from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    StandardOptions,
    TestOptions,
    WorkerOptions,
)

from underpaint.codec.errors import UsageError
from underpaint.codec.extractors.names import ExtractorName
from underpaint.codec.storage.extras import install_hint
from underpaint.codec.storage.files import Storage

RUNNER = "DataflowRunner"

DEFAULT_GPU = "nvidia-l4"

MACHINES = {
    "nvidia-l4": "g2-standard-8",
    "nvidia-tesla-t4": "n1-standard-8",
    "nvidia-tesla-a100": "a2-highgpu-1g",
    "nvidia-a100-80gb": "a2-ultragpu-1g",
    "nvidia-h100-80gb": "a3-highgpu-1g",
}
"""Machine type for one GPU; all have at least 30 GB of memory."""

PLAIN_MACHINE = "n2-standard-4"
"""Machine type of the steps without a GPU."""

CPU_MACHINE = "n2-highmem-8"
"""Machine type of jobs without GPUs: one process a vCPU, 8 GB each."""

DRIVER = "install-nvidia-driver:5xx"
"""A driver of the 5xx series, which CUDA 12 in the worker image requires."""

GPU_THREADS = 4
"""Work units at a time in the one process of a GPU: some are decoded while one is encoded."""

UNIT_MEMORY = 5 << 30
"""Memory for the pictures of one work unit: enough for a picture of 50 megapixels."""

DISK_GB = 100
"""The worker image takes about 10 GB unpacked; the rest holds units that are being written."""

DISK_TYPE = "compute.googleapis.com/projects//zones//diskTypes/pd-balanced"
"""Machines with an L4 do not take standard persistent disks."""

MOST_WORKERS = 8

ONE_PROCESS = "no_use_multiple_sdk_containers"
"""Experiment: one Python process a machine instead of one a vCPU, so that the GPU has one owner."""

_ACCELERATOR_MACHINES = ("g2-", "g4-", "a2-", "a3-", "a4-")


@dataclass(frozen=True)
class Launch:
    """How a job is launched on Dataflow."""

    flags: tuple[str, ...]
    """All options of Beam: those given, and defaults for the others."""
    accelerator: str | None
    """Resource hint of the step that encodes."""
    device: str
    memory: int
    """Bytes that the pictures of one work unit may take."""
    staged: bool
    """Whether the job is written as a template that somebody else runs."""


@dataclass(frozen=True)
class Submission:
    """A job that was described or submitted without waiting for it; `text` is for the console."""

    text: str


class Unwritten(Storage):
    """A folder to which a dry run writes nothing."""

    def put(self, name: str, data: bytes, media_type: str | None = None) -> None:
        """Discard the file."""

    def put_new(self, name: str, data: bytes) -> bool:
        """Discard the file, as if there were none of the name."""
        return True

    @contextmanager
    def scratch(self, name: str) -> Iterator[str]:
        """Yield the path of a local file outside of the archive."""
        with tempfile.TemporaryDirectory(prefix="underpaint-") as folder:
            yield os.path.join(folder, "file")

    def put_file(self, name: str, local: str) -> None:
        """Discard the file."""

    def delete(self, name: str) -> None:
        """Leave the file."""


def is_dataflow(runner: str) -> bool:
    """Return whether the name of a runner means Dataflow."""
    return runner.rsplit(".", 1)[-1].lower() in ("dataflowrunner", "dataflow")


def launch(
    given: Sequence[str],
    *,
    inputs: Sequence[str],
    output: str,
    weights: str | None = None,
    embedding: str | None = None,
    gpu: str = DEFAULT_GPU,
    device: str = "auto",
    memory: int | None = None,
) -> Launch:
    """Complete the given options of Beam; UsageError if the job could not run.

    `gpu` is TYPE, TYPE:MACHINE or "none"; `memory` is for one process of a worker.
    """
    options = PipelineOptions(list(given))
    _check_places(inputs, output, weights, embedding)
    _check_given(options)
    accelerator = _accelerator(gpu, options)
    flags = [*given, *_missing(options, output, accelerator is not None)]
    complete = PipelineOptions(flags)
    threads = complete.view_as(DebugOptions).number_of_worker_harness_threads
    if device == "auto":  # a worker that lost its GPU must not go on at a tenth of the speed
        device = "cuda" if accelerator else "cpu"
    return Launch(
        flags=tuple(flags),
        accelerator=accelerator,
        device=device,
        memory=memory // threads if memory else UNIT_MEMORY,
        staged=complete.view_as(GoogleCloudOptions).template_location is not None,
    )


def job_request(pipeline: Pipeline) -> dict[str, Any]:
    """Return the CreateJobRequest of a pipeline with the option `dry_run`, and its resource hints.

    The same code that submits a job builds the request; nothing is staged and nothing is sent.
    """
    try:
        from apache_beam.runners.dataflow.internal import apiclient
        from apache_beam.runners.internal.names import STAGED_PIPELINE_FILENAME
    except ImportError as error:
        raise _no_client(error) from error
    job = pipeline.run().job  # type: ignore[attr-defined]
    options = job.options
    options.view_as(TestOptions).dry_run = False
    cloud = options.view_as(GoogleCloudOptions)
    job.proto.environment = apiclient.Environment(
        packages=[],
        options=options,
        environment_version=apiclient._FNAPI_ENVIRONMENT_MAJOR_VERSION,
        proto_pipeline_staged_url=f"{cloud.staging_location}/{STAGED_PIPELINE_FILENAME}",
        proto_pipeline=job.proto_pipeline,
    ).proto
    request = {"projectId": cloud.project, "location": cloud.region, "job": json.loads(job.json())}
    return {"request": request, "resourceHints": resource_hints(job.proto_pipeline)}


def resource_hints(pipeline: Any) -> dict[str, dict[str, str]]:
    """Return the resource hints of a pipeline's proto: step name -> hint name -> value."""
    environments = pipeline.components.environments
    found = {}
    for transform in pipeline.components.transforms.values():
        hints = environments[transform.environment_id].resource_hints
        if transform.environment_id and hints and not transform.subtransforms:
            found[transform.unique_name] = {
                urn.split(":")[-2]: value.decode() for urn, value in hints.items()
            }
    return found


def errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that Beam raises if a job fails or the account may not start it."""
    from apache_beam.runners.dataflow.dataflow_runner import DataflowRuntimeException
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError

    return DataflowRuntimeException, GoogleAPICallError, GoogleAuthError


def whereabouts(job_id: str, flags: Sequence[str]) -> str:
    """Return a message about where to watch a running job and how to stop it."""
    cloud = PipelineOptions(list(flags)).view_as(GoogleCloudOptions)
    page = f"https://console.cloud.google.com/dataflow/jobs/{cloud.region}/{job_id}"
    return (
        f"job {job_id}: {page}?project={cloud.project}\n"
        "it goes on where this command is stopped; to end it:\n"
        f"gcloud dataflow jobs cancel {job_id} --region={cloud.region} --project={cloud.project}"
    )


def check_client() -> None:
    """UsageError if Beam's Dataflow client is not installed."""
    try:
        import google.cloud.dataflow  # noqa: F401
    except ImportError as error:
        raise _no_client(error) from error


def _no_client(error: ImportError) -> UsageError:
    return UsageError(f"{RUNNER} needs more packages: {install_hint('dataflow')} ({error})")


def _check_places(
    inputs: Sequence[str], output: str, weights: str | None, embedding: str | None
) -> None:
    network = ExtractorName.parse(embedding).location if embedding else None
    places = [*inputs, output, *(place for place in (weights, network) if place)]
    local = [place for place in places if "://" not in place or place.startswith("file://")]
    if local:
        raise UsageError(f"{RUNNER}: workers in the cloud cannot see {', '.join(local)}")


def _check_given(options: PipelineOptions) -> None:
    cloud, workers = options.view_as(GoogleCloudOptions), options.view_as(WorkerOptions)
    needed = {
        "project": cloud.project,
        "region": cloud.region,
        "sdk_container_image": workers.sdk_container_image,
    }
    missing = [f"--{name}=…" for name, value in needed.items() if not value]
    if missing:
        raise UsageError(f"{RUNNER} needs {' '.join(missing)}")
    services = [*(cloud.dataflow_service_options or []), *_experiments(options)]
    if any(service.startswith("worker_accelerator") for service in services):
        raise UsageError("worker_accelerator does not go with resource hints: use --gpu")
    if (workers.machine_type or "").startswith(_ACCELERATOR_MACHINES):
        raise UsageError(
            f"--machine_type={workers.machine_type} is for the steps without a GPU; "
            f"the GPU's own is --gpu TYPE:{workers.machine_type}"
        )


def _accelerator(gpu: str, options: PipelineOptions) -> str | None:
    if gpu == "none":
        return None
    kind, _, machine = gpu.partition(":")
    machine = machine or MACHINES.get(kind, "")
    if not kind or not machine or any(mark in gpu for mark in ";= "):
        raise UsageError(f"--gpu {gpu}: none, TYPE:MACHINE or one of {', '.join(MACHINES)}")
    if options.view_as(GoogleCloudOptions).flexrs_goal:
        raise UsageError("--flexrs_goal does not go with GPUs: add --gpu none")
    if options.view_as(StandardOptions).resource_hints:
        raise UsageError("--resource_hints go to every step: use --gpu, or add --gpu none")
    return f"type:{kind};count:1;machine_type:{machine};{DRIVER}"


def _missing(options: PipelineOptions, output: str, with_gpu: bool) -> list[str]:
    """Return flags for the options that were not given."""
    cloud, workers = options.view_as(GoogleCloudOptions), options.view_as(WorkerOptions)
    experiments = _experiments(options)
    threads = GPU_THREADS if with_gpu else 1
    wanted: list[tuple[object, str]] = [
        (cloud.job_name, f"--job_name=underpaint-encode-{time.strftime('%Y%m%d-%H%M%S')}"),
        (cloud.labels, "--labels=application=underpaint"),
        ("use_runner_v2" in experiments, "--experiments=use_runner_v2"),
        (workers.machine_type, f"--machine_type={PLAIN_MACHINE if with_gpu else CPU_MACHINE}"),
        (workers.disk_size_gb, f"--disk_size_gb={DISK_GB}"),
        (workers.disk_type, f"--worker_disk_type={DISK_TYPE}"),
        (workers.autoscaling_algorithm, "--autoscaling_algorithm=THROUGHPUT_BASED"),
        (workers.max_num_workers, f"--max_num_workers={MOST_WORKERS}"),
        (
            options.view_as(DebugOptions).number_of_worker_harness_threads,
            f"--number_of_worker_harness_threads={threads}",
        ),
    ]
    if with_gpu:
        wanted.append((ONE_PROCESS in experiments, f"--experiments={ONE_PROCESS}"))
    if not cloud.temp_location:
        wanted.append((cloud.staging_location, f"--temp_location={_temporary(output)}"))
    return [flag for given, flag in wanted if not given]


def _temporary(output: str) -> str:
    """Return a folder beside the archive for Beam's staging files."""
    parent, _, name = output.rstrip("/").rpartition("/")
    if not output.startswith("gs://") or parent in ("gs:/", "gs:"):
        raise UsageError(f"{RUNNER} needs --temp_location=gs://… (the archive leaves no room)")
    return f"{parent}/{name}.staging"


def _experiments(options: PipelineOptions) -> list[str]:
    return list(options.view_as(DebugOptions).experiments or [])
