"""The job that goes to Dataflow, compared field by field with what Google's pages ask of a GPU job.

Everything is the real thing (Beam's runner and client, staging to the storage emulator) but the
last call, which would create the job: it keeps the request.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fsspec
import pytest

from tests.helpers.pictures import make_photos, underpaint
from underpaint.codec.errors import UsageError
from underpaint.pipelines.runners import dataflow

pytestmark = pytest.mark.slow

pytest.importorskip("google.cloud.dataflow", reason="needs the extra `dataflow`")

IMAGE = "europe-west4-docker.pkg.dev/museum/underpaint/worker:0.1.0"
CLOUD = ("--project=museum", "--region=europe-west4", f"--sdk_container_image={IMAGE}")
HINT = "type:nvidia-l4;count:1;machine_type:g2-standard-8;install-nvidia-driver:5xx"


def launch(*flags: str, **more: Any) -> dataflow.Launch:
    base = {"inputs": ["gs://museum/photos"], "output": "gs://museum/made/archive"}
    return dataflow.launch([*CLOUD, *flags], **{**base, **more})


class Captured:
    """The requests that would have created jobs; each job has ended at once, well by default."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, state: Any = None) -> None:
        from apache_beam.runners.dataflow.internal.apiclient import dataflow as api

        self.requests: list[Any] = []
        state = state or api.JobState.JOB_STATE_DONE

        def create_job(client: Any, request: Any) -> Any:
            self.requests.append(request)
            return api.Job(id="job-1", current_state=state)

        monkeypatch.setattr(api.JobsV1Beta3Client, "create_job", create_job)


@pytest.fixture
def photos(gs_folder: str, tmp_path: Path) -> str:
    """A folder of photos on Cloud Storage."""
    for path in make_photos(tmp_path / "photos", 3):
        target = f"{gs_folder}/{path.relative_to(tmp_path)}"
        fsspec.filesystem("gs").put_file(str(path), target)
    return f"{gs_folder}/photos"


@pytest.fixture
def submitted(
    photos: str, gs_folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """The CreateJobRequest of `underpaint encode … --runner DataflowRunner`."""
    captured = Captured(monkeypatch)
    status = underpaint(
        "encode", photos, "--output", f"{gs_folder}/archive", "--runner", "DataflowRunner", *CLOUD,
        "--job_name=museum-encode", "--no_auth",
        "--service_account_email=worker@museum.iam.gserviceaccount.com",
        "--subnetwork=regions/europe-west4/subnetworks/underpaint", "--no_use_public_ips",
    )  # fmt: skip
    assert status == 0, capsys.readouterr().err
    (request,) = captured.requests
    return request


def test_a_gpu_job_asks_for_what_the_docs_say(submitted: Any, gs_folder: str) -> None:
    from apache_beam.runners.dataflow.internal.apiclient import dataflow as api

    job = submitted.job
    assert (submitted.project_id, submitted.location) == ("museum", "europe-west4")
    assert job.name == "museum-encode"
    assert job.type_ == api.JobType.JOB_TYPE_BATCH
    assert dict(job.labels) == {"application": "underpaint"}
    environment = job.environment
    assert environment.service_account_email == "worker@museum.iam.gserviceaccount.com"
    # Runner v2, and one Python process for the GPU of a machine
    assert {"use_runner_v2", "no_use_multiple_sdk_containers"} <= set(environment.experiments)
    assert "use_multiple_sdk_containers" not in environment.experiments
    # hints and the service option for accelerators exclude each other
    assert not [o for o in environment.service_options if "worker_accelerator" in o]
    (pool,) = environment.worker_pools
    assert pool.machine_type == "n2-standard-4"
    assert pool.disk_size_gb == 100
    assert pool.disk_type.endswith("/diskTypes/pd-balanced")
    assert pool.num_threads_per_worker == 4
    assert pool.autoscaling_settings.max_num_workers == 8
    algorithm = api.AutoscalingAlgorithm.AUTOSCALING_ALGORITHM_BASIC
    assert pool.autoscaling_settings.algorithm == algorithm
    assert pool.subnetwork == "regions/europe-west4/subnetworks/underpaint"
    private = api.WorkerIPAddressConfiguration.WORKER_IP_PRIVATE
    assert pool.ip_configuration == private
    # the same image on the plain machines and on those with a GPU
    images = {each.container_image for each in pool.sdk_harness_container_images}
    assert images == {IMAGE}
    # nothing is installed when a worker starts: the one file staged is a list for the log
    assert [each.name for each in pool.packages] == ["submission_environment_dependencies.txt"]
    options = environment.sdk_pipeline_options["options"]
    assert options["temp_location"].startswith(f"{gs_folder}/archive.staging/museum-encode.")
    assert options["pipelineUrl"].startswith(options["staging_location"])


def test_where_the_job_is_and_how_it_ends_is_told(
    photos: str, gs_folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from apache_beam.runners.dataflow.internal.apiclient import dataflow as api

    Captured(monkeypatch, api.JobState.JOB_STATE_FAILED)
    command = ["encode", photos, "--output", f"{gs_folder}/archive", "--runner", "DataflowRunner"]
    assert underpaint(*command, *CLOUD, "--no_auth") == 1
    shown = capsys.readouterr().err
    assert "/dataflow/jobs/europe-west4/job-1?project=museum" in shown
    assert "gcloud dataflow jobs cancel job-1 --region=europe-west4" in shown
    assert shown.strip().splitlines()[-1].startswith("underpaint: the job broke: ")


def test_an_account_that_may_not_start_jobs_gets_one_line(
    photos: str, gs_folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from apache_beam.runners.dataflow.internal.apiclient import dataflow as api
    from apache_beam.utils.retry import Clock
    from google.api_core.exceptions import PermissionDenied

    monkeypatch.setattr(Clock, "sleep", lambda clock, seconds: None)  # Beam tries three times

    def refuse(client: Any, request: Any) -> Any:
        raise PermissionDenied("dataflow.jobs.create is missing")

    monkeypatch.setattr(api.JobsV1Beta3Client, "create_job", refuse)
    command = ["encode", photos, "--output", f"{gs_folder}/archive", "--runner", "DataflowRunner"]
    assert underpaint(*command, *CLOUD, "--no_auth") == 1
    assert "dataflow.jobs.create is missing" in capsys.readouterr().err.splitlines()[-1]
    assert underpaint(*command, *CLOUD, "--no_auth", "--project=NOT A PROJECT") == 2
    assert "NOT A PROJECT" in capsys.readouterr().err


def test_only_the_step_that_encodes_asks_for_a_gpu(submitted: Any) -> None:
    from apache_beam.portability.api import beam_runner_api_pb2

    url = submitted.job.environment.sdk_pipeline_options["options"]["pipelineUrl"]
    pipeline = beam_runner_api_pb2.Pipeline.FromString(fsspec.filesystem("gs").cat_file(url))
    hints = dataflow.resource_hints(pipeline)
    assert hints == {"Encode pictures/Encode units": {"accelerator": HINT}}


def test_a_dry_run_prints_that_job_and_writes_nothing(
    photos: str, gs_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the emulator's help for Dataflow itself: no call leaves the process for it."""
    before = fsspec.filesystem("gs").find(gs_folder)
    status = underpaint(
        "encode", photos, "--output", f"{gs_folder}/archive", "--runner", "DataflowRunner", *CLOUD,
        "--dry-run",
    )  # fmt: skip
    assert status == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["plan"]["inputs"] == 3
    assert shown["resourceHints"] == {"Encode pictures/Encode units": {"accelerator": HINT}}
    request = shown["request"]
    assert (request["projectId"], request["location"]) == ("museum", "europe-west4")
    (pool,) = request["job"]["environment"]["workerPools"]
    assert pool["machineType"] == "n2-standard-4"
    assert {i["containerImage"] for i in pool["sdkHarnessContainerImages"]} == {IMAGE}
    fsspec.filesystem("gs").invalidate_cache()
    assert fsspec.filesystem("gs").find(gs_folder) == before


def test_a_dry_run_of_a_local_job_tells_its_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_photos(tmp_path / "photos", 3)
    command = ["encode", tmp_path / "photos", "--output", tmp_path / "archive", "--dry-run"]
    assert underpaint(*command) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["runner"], shown["plan"]["records"]) == ("FnApiRunner", 3)
    assert not (tmp_path / "archive").exists()


def test_a_dry_run_leaves_an_archive_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_photos(tmp_path / "photos", 2)
    archive = tmp_path / "archive"
    assert underpaint("encode", tmp_path / "photos", "--output", archive) == 0
    before = {path: path.stat().st_mtime_ns for path in archive.rglob("*")}
    make_photos(tmp_path / "more", 4)
    capsys.readouterr()
    command = ["encode", tmp_path / "more", "--output", archive, "--dry-run"]
    assert underpaint(*command, "--on-conflict", "replace") == 0
    assert json.loads(capsys.readouterr().out)["plan"]["records"] == 4
    assert {path: path.stat().st_mtime_ns for path in archive.rglob("*")} == before


def test_a_template_is_staged_with_its_plan_and_not_waited_for(
    photos: str, gs_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the launcher of a Flex Template runs the command."""
    captured = Captured(monkeypatch)
    status = underpaint(
        "encode", photos, "--output", f"{gs_folder}/archive", "--runner", "DataflowRunner", *CLOUD,
        "--no_auth", f"--template_location={gs_folder}/staged/job",
        f"--temp_location={gs_folder}/temp",
    )  # fmt: skip
    assert status == 0
    assert captured.requests == []
    fs = fsspec.filesystem("gs")
    fs.invalidate_cache()
    job = json.loads(fs.cat_file(f"{gs_folder}/staged/job"))
    assert job["environment"]["workerPools"][0]["machineType"] == "n2-standard-4"
    kept = [name.rsplit("/", 1)[-1] for name in fs.find(f"{gs_folder}/archive/plans")]
    committed = ["state.committed.high", "state.committed.low"]
    assert sorted(kept) == ["plan-00000.jsonl", *committed, "state.retries.json"]


def test_what_was_given_stays() -> None:
    given = (
        "--job_name=mine", "--temp_location=gs://museum/temp", "--machine_type=n2-standard-16",
        "--disk_size_gb=250", "--max_num_workers=100", "--number_of_worker_harness_threads=8",
        "--worker_disk_type=compute.googleapis.com/projects//zones//diskTypes/pd-ssd",
        "--autoscaling_algorithm=NONE", "--labels=team=photos", "--experiments=use_runner_v2",
    )  # fmt: skip
    made = launch(*given, gpu="nvidia-tesla-t4", memory=16 << 30)
    added = set(made.flags) - set(CLOUD) - set(given)
    assert added == {"--experiments=no_use_multiple_sdk_containers"}
    assert made.accelerator
    assert made.accelerator.startswith("type:nvidia-tesla-t4;count:1;machine_type:n1-standard-8;")
    assert made.memory == 2 << 30
    assert launch(gpu="nvidia-l4:g2-standard-16").accelerator == HINT.replace("-8", "-16")


def test_without_a_gpu_there_is_a_process_for_each_core() -> None:
    made = launch(gpu="none")
    assert (made.accelerator, made.device) == (None, "cpu")
    assert "--experiments=no_use_multiple_sdk_containers" not in made.flags
    assert "--number_of_worker_harness_threads=1" in made.flags
    assert "--machine_type=n2-highmem-8" in made.flags
    assert launch().device == "cuda"


def test_what_is_staged_lies_beside_the_archive() -> None:
    assert "--temp_location=gs://museum/made/archive.staging" in launch().flags
    flags = launch(output="gs://museum/archive/").flags
    assert "--temp_location=gs://museum/archive.staging" in flags
    assert not launch().staged
    assert launch("--template_location=gs://museum/job").staged


@pytest.mark.parametrize(
    ("flags", "more", "text"),
    [
        ((), {"inputs": ["photos"]}, "cannot see photos"),
        ((), {"output": "/tmp/archive"}, "cannot see /tmp/archive"),
        ((), {"weights": "mine.safetensors"}, "cannot see mine.safetensors"),
        ((), {"embedding": "onnx:net.onnx#size=64"}, "cannot see net.onnx"),
        ((), {"embedding": "timm:net@net.safetensors"}, "cannot see net.safetensors"),
        ((), {"output": "gs://museum"}, "--temp_location"),
        ((), {"output": "s3://museum/archive"}, "--temp_location"),
        ((), {"gpu": "voodoo"}, "--gpu voodoo"),
        ((), {"gpu": "nvidia-l4;count:8"}, "--gpu"),
        (("--machine_type=g2-standard-8",), {}, "--gpu TYPE:g2-standard-8"),
        (("--dataflow_service_options=worker_accelerator=type:x",), {}, "use --gpu"),
        (("--experiments=worker_accelerator=type:x",), {}, "use --gpu"),
        (("--flexrs_goal=COST_OPTIMIZED",), {}, "--gpu none"),
        (("--resource_hints=min_ram=16GB",), {}, "--gpu none"),
    ],
)
def test_a_job_that_could_not_run_is_refused(
    flags: tuple[str, ...], more: dict[str, Any], text: str
) -> None:
    with pytest.raises(UsageError, match=text):
        launch(*flags, **more)


def test_what_is_missing_is_told_in_one_line(
    gs_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["encode", f"{gs_folder}/photos", "--output", f"{gs_folder}/archive"]
    assert underpaint(*command, "--runner", "DataflowRunner", "--region=europe-west4") == 2
    shown = capsys.readouterr().err.strip()
    assert "--project=… --sdk_container_image=…" in shown
    assert len(shown.splitlines()) == 1
