"""Dockerfile, template, Terraform and Cloud Build, checked by their own tools where there are."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from underpaint.codec.errors import UsageError
from underpaint.codec.extractors.names import ExtractorName
from underpaint.pipelines.cli.main import build_parser
from underpaint.pipelines.runners import dataflow, flex_template

ROOT = Path(__file__).parents[2]
IMAGE_FOLDER = ROOT / "infra" / "dataflow"
DOCKERFILE = IMAGE_FOLDER / "Dockerfile"
TERRAFORM = ROOT / "infra" / "terraform"
METADATA = json.loads((IMAGE_FOLDER / "flex_template.json").read_text())
PARAMETERS = {each["name"]: each for each in METADATA["parameters"]}


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} here")
    return found


def terraform(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [tool("terraform"), *arguments]
    alone = dict(os.environ, CHECKPOINT_DISABLE="1")
    return subprocess.run(command, cwd=cwd, env=alone, capture_output=True, text=True)


def build_arguments() -> dict[str, str]:
    return dict(re.findall(r"^ARG (\w+)=(\S+)$", DOCKERFILE.read_text(), re.MULTILINE))


def pins_of(path: Path) -> dict[str, str]:
    """Name and version of each line `name==version`."""
    lines = path.read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line and line[0] != "#")


def test_the_dockerfile_passes_hadolint() -> None:
    done = subprocess.run([tool("hadolint"), str(DOCKERFILE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_image_installs_versions_that_fit_the_package() -> None:
    constraints = pins_of(ROOT / "constraints.txt")
    requirements = pins_of(IMAGE_FOLDER / "requirements.txt")
    both = constraints.keys() & requirements.keys()
    assert {"numpy", "pillow", "pyarrow"} <= both
    assert {name: constraints[name] for name in both} == {name: requirements[name] for name in both}
    pins = constraints | requirements
    arguments = build_arguments()
    assert pins["apache-beam"] == arguments["BEAM_VERSION"]
    assert arguments["PYTHON_PATCH"].startswith(arguments["PYTHON_VERSION"] + ".")
    launcher = f"python{arguments['PYTHON_VERSION'].replace('.', '')}-template-launcher-base"
    assert launcher in DOCKERFILE.read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["dataflow"], *extras["extractors"], *extras["heif"]]
    for requirement in map(Requirement, wanted):
        assert pins[requirement.name] in requirement.specifier, requirement


def test_the_image_gets_all_files_it_copies_and_no_others() -> None:
    ignore = (IMAGE_FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    sent = {line[1:] for line in ignore if line.startswith("!")}
    copied = set()
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE.read_text(), re.MULTILINE):
        copied |= set(line.split()[:-1])
    assert copied == sent
    for path in copied:
        assert (ROOT / path).exists(), path


def test_every_option_of_encode_is_a_documented_parameter() -> None:
    assert set(PARAMETERS) == {flex_template.INPUT, *flex_template.offered()}
    for name, parameter in PARAMETERS.items():
        assert len(parameter["helpText"]) > 30, name
        assert parameter["label"]
        assert parameter["isOptional"] == (name not in ("input", "output"))
        default = parameter.get("defaultValue")
        for pattern in parameter.get("regexes", []):
            assert default is None or re.match(pattern, default), name


def test_parameters_become_the_command_line() -> None:
    command = flex_template.to_command(
        [
            '--input=["gs://a/photos", "gs://b/more photos"]', "--output=gs://a/archive",
            "--deduplicate=true", "--retry_failed=false", "--max_layers=3",
            '--label=["cls:int64", "name:string"]', "--tar_key=last-dot", "--gpu=nvidia-tesla-t4",
            "--weights=https://a/b", f"--weights_sha256={'0' * 64}", "--memory=20G",
            f"--embedding=onnx:gs://a/net.onnx#sha256={'1' * 64}&output=pool&std=1,1,1",
            "--runner=DataflowRunner", "--project=museum", "--region=europe-west4",
            "--template_location=gs://a/staging/job", "--no_use_public_ips",
            "--sdk_container_image=image",
        ]
    )  # fmt: skip
    parsed, rest = build_parser().parse_known_args(command)
    assert parsed.photos == ["gs://a/photos", "gs://b/more photos"]
    assert (parsed.output, parsed.max_layers) == ("gs://a/archive", 3)
    assert (parsed.deduplicate, parsed.retry_failed) == (True, False)
    assert (parsed.label, parsed.tar_key) == (["cls:int64", "name:string"], "last-dot")
    assert (parsed.gpu, parsed.memory) == ("nvidia-tesla-t4", 20 * 10**9)
    assert parsed.embedding == f"onnx:gs://a/net.onnx#sha256={'1' * 64}&output=pool&std=1,1,1"
    assert (parsed.runner, parsed.weights_sha256) == ("DataflowRunner", "0" * 64)
    assert rest == [
        "--project=museum", "--region=europe-west4", "--template_location=gs://a/staging/job",
        "--no_use_public_ips", "--sdk_container_image=image",
    ]  # fmt: skip


def test_workers_take_the_image_of_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(flex_template.IMAGE, "registry/worker:1")
    command = flex_template.to_command(["--input=gs://a/photos", "--output=gs://a/archive"])
    assert "--sdk_container_image=registry/worker:1" in command


@pytest.mark.parametrize(
    "parameter", ["--deduplicate=perhaps", "--input=[1]", '--input=["gs://a"', "--input=[[]]"]
)
def test_a_parameter_that_cannot_be_read_is_refused(parameter: str) -> None:
    with pytest.raises(UsageError):
        flex_template.to_command([parameter])
    assert flex_template.main([parameter]) == 2


def test_cloud_build_builds_that_dockerfile_and_tries_the_image() -> None:
    build = yaml.safe_load((IMAGE_FOLDER / "cloudbuild.yaml").read_text())
    first, second = build["steps"]
    assert f"--file={DOCKERFILE.relative_to(ROOT)}" in first["args"]
    assert build["images"] == ["${_IMAGE}"] == [second["name"]]
    script = second["args"][-1].replace("$$", "$")
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
    assert checked.returncode == 0, checked.stderr
    code = re.search(r"<<'PYTHON'\n(.*?)\nPYTHON", script, re.DOTALL)
    assert code
    exec(code[1], {})


def test_terraform_files_are_hcl() -> None:
    hcl2 = pytest.importorskip("hcl2", reason="needs python-hcl2")
    for path in sorted(TERRAFORM.glob("*.tf")):
        with open(path, encoding="utf-8") as file:
            assert hcl2.load(file), path


def test_terraform_files_are_formatted() -> None:
    done = terraform("fmt", "-check", "-diff", "-recursive", cwd=TERRAFORM)
    assert done.returncode == 0, done.stdout


def test_terraform_is_valid(tmp_path: Path) -> None:
    shutil.copytree(TERRAFORM, tmp_path / "terraform")
    prepared = terraform("init", "-backend=false", "-input=false", cwd=tmp_path / "terraform")
    if prepared.returncode:
        pytest.skip("the Google provider cannot be had here: terraform validate was not run")
    done = terraform("validate", "-no-color", cwd=tmp_path / "terraform")
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_account_has_a_basic_role_and_nothing_is_public() -> None:
    text = "".join(path.read_text() for path in TERRAFORM.glob("*.tf"))
    roles = set(re.findall(r"roles/[\w.]+", text))
    assert roles == {
        "roles/artifactregistry.reader", "roles/artifactregistry.writer",
        "roles/dataflow.developer", "roles/dataflow.worker",
        "roles/iam.serviceAccountTokenCreator", "roles/iam.serviceAccountUser",
        "roles/logging.logWriter", "roles/logging.viewer", "roles/monitoring.viewer",
        "roles/storage.legacyBucketReader", "roles/storage.objectUser",
        "roles/storage.objectViewer",
    }  # fmt: skip
    assert "allUsers" not in text
    assert "allAuthenticatedUsers" not in text


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Terraform makes of template, dashboard and outputs, with names in place of resources.

    Resources need Google's provider; expressions do not. Each reference to an attribute of a
    resource becomes the attribute's name.
    """
    folder = tmp_path_factory.mktemp("terraform")
    parts = {path.name: path.read_text() for path in TERRAFORM.glob("*.tf")}
    blocks = [parts["outputs.tf"]]
    for name in ("main.tf", "monitoring.tf"):
        (locals_,) = re.findall(r"^locals \{.*?^\}", parts[name], re.MULTILINE | re.DOTALL)
        blocks.append(re.sub(r"^  channels .*$", "", locals_, flags=re.MULTILINE))
    for name, made in (("template.tf", "spec"), ("monitoring.tf", "dashboard")):
        expression = _call(parts[name], "jsonencode")
        blocks.append(f'output "{made}" {{\n  value = {expression}\n}}')
    text = "\n".join(blocks).replace("${path.module}", str(TERRAFORM))
    text = re.sub(r"google_\w+\.\w+\.(\w+)", r'"the-\1"', text)
    (folder / "main.tf").write_text(text)
    (folder / "variables.tf").write_text(parts["variables.tf"])
    (folder / "terraform.tfvars").write_text('project = "museum"\nbucket = "photos"\n')
    for command in (["init"], ["apply", "-auto-approve"]):
        done = terraform(*command, "-input=false", "-no-color", cwd=folder)
        assert done.returncode == 0, done.stderr
    shown = json.loads(terraform("output", "-json", cwd=folder).stdout)
    return {name: each["value"] for name, each in shown.items()}


def _call(text: str, function: str) -> str:
    """The first call of a function, to its closing parenthesis."""
    start = text.index(f"{function}(")
    depth = 0
    for end, letter in enumerate(text[start:], start):
        depth += (letter == "(") - (letter == ")")
        if letter == ")" and not depth:
            return text[start : end + 1]
    raise AssertionError("no closing parenthesis")


def test_the_template_is_one_that_dataflow_knows(outputs: dict[str, Any]) -> None:
    api = pytest.importorskip("google.cloud.dataflow", reason="needs the extra `dataflow`")
    from google.protobuf import json_format

    spec = json.loads(outputs["spec"])
    message = api.ContainerSpec.pb(api.ContainerSpec())
    json_format.ParseDict(spec, message)  # raises at a field that there is not
    assert message.image == outputs["image"]
    assert message.image.startswith("europe-west4-docker.pkg.dev/museum/")
    assert message.default_environment.sdk_container_image == message.image
    assert [each.name for each in message.metadata.parameters] == list(PARAMETERS)


def test_the_launch_options_of_terraform_are_taken(outputs: dict[str, Any]) -> None:
    command = ["encode", "gs://photos/in", "--output", "gs://photos/archive"]
    parsed, rest = build_parser().parse_known_args(
        [*command, *shlex.split(outputs["launch_options"])]
    )
    assert (parsed.runner, parsed.gpu) == ("DataflowRunner", "nvidia-l4")
    made = dataflow.launch(rest, inputs=parsed.photos, output=parsed.output, gpu=parsed.gpu)
    assert "--temp_location=gs://the-name/temp" in made.flags
    assert "--subnetwork=regions/europe-west4/subnetworks/the-name" in made.flags


def test_the_dashboard_shows_the_counters_of_the_pipeline(outputs: dict[str, Any]) -> None:
    source = (ROOT / "transforms" / "encode.py").read_text()
    counters = set(re.findall(r'Metrics\.counter\(NAMESPACE, "(\w+)"\)', source))
    board = json.loads(outputs["dashboard"])
    tiles = board["mosaicLayout"]["tiles"]
    places = {(tile["xPos"], tile["yPos"]) for tile in tiles}
    assert len(places) == len(tiles) == 6
    shown = set(re.findall(r'metric_name = \\"(\w+)', outputs["dashboard"]))
    assert shown <= counters
    assert {"images", "failed"} <= shown


def test_the_page_names_files_and_options_that_there_are() -> None:
    page = (ROOT / "infra" / "README.md").read_text()
    first = page[: page.index("\n## ")]
    for name in re.findall(r"`([\w./]+\.(?:\w+)|Dockerfile|terraform/)`", first):
        assert (ROOT / "infra" / name).exists(), name
    variables = (TERRAFORM / "variables.tf").read_text()
    settings = re.search(r"TFVARS'\n(.*?)TFVARS", page, re.DOTALL)
    assert settings
    for name in re.findall(r"^ *(\w+) +=", settings[1], re.MULTILINE):
        assert f'variable "{name}"' in variables, name
    for name in re.findall(r"output -raw (\w+)", page):
        assert f'output "{name}"' in (TERRAFORM / "outputs.tf").read_text(), name
    whole_lines = page.replace("\\\n", " ")
    commands = re.findall(r"^ *underpaint (encode .*)$", whole_lines, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        parsed, rest = build_parser().parse_known_args(
            shlex.split(command.replace("$options", "").replace("DIGEST", "0" * 64))
        )
        assert not rest
        if parsed.embedding:
            name = ExtractorName.parse(parsed.embedding)
            assert (name.kind, name.sha256) == ("torchvision", "0" * 64)


def test_the_defaults_of_the_page_are_the_defaults() -> None:
    page = (ROOT / "infra" / "README.md").read_text()
    made = dataflow.launch(
        ["--project=p", "--region=r", "--sdk_container_image=i"],
        inputs=["gs://a/photos"],
        output="gs://a/archive",
    )
    assert made.accelerator
    assert made.accelerator in page
    for machine in (dataflow.PLAIN_MACHINE, dataflow.CPU_MACHINE, dataflow.MACHINES["nvidia-l4"]):
        assert f"`{machine}`" in page
    rows = dict(re.findall(r"^\| `(--\w+)`[^|]*\| ([^|]*) \|", page, re.MULTILINE))
    assert rows["--number_of_worker_harness_threads"].startswith(f"{dataflow.GPU_THREADS} ")
    assert rows["--disk_size_gb"].startswith(f"{dataflow.DISK_GB},")
    assert rows["--autoscaling_algorithm"].endswith(f", {dataflow.MOST_WORKERS}")
    assert dataflow.UNIT_MEMORY == 5 << 30
    assert rows["--memory"].startswith("5 GiB")
