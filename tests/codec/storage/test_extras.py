"""Extras: the table in the code agrees with pyproject.toml."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from underpaint.codec.errors import UsageError
from underpaint.codec.storage import extras
from underpaint.codec.storage.extras import (
    EXTRAS,
    SCHEMES,
    file_system,
    install_hint,
    is_chain,
    missing_extra,
)

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
OPTIONAL = PROJECT["optional-dependencies"]


@pytest.mark.parametrize("package", EXTRAS)
def test_the_extra_of_a_package_installs_it(package: str) -> None:
    names = {Requirement(each).name for each in OPTIONAL[EXTRAS[package]]}
    assert package.replace("_", "-") in names
    assert package.replace("_", "-") not in {
        Requirement(each).name for each in PROJECT["dependencies"]
    }
    assert missing_extra(ModuleNotFoundError(name=f"{package}.part")) == EXTRAS[package]


def test_a_package_of_no_extra_has_none() -> None:
    assert missing_extra(ModuleNotFoundError(name="numpy")) is None
    assert missing_extra(ImportError("cannot import name")) is None


def test_each_scheme_has_an_extra() -> None:
    assert set(SCHEMES.values()) <= set(OPTIONAL)


def test_all_holds_every_extra_for_users() -> None:
    [everything] = map(Requirement, OPTIONAL["all"])
    assert everything.extras == set(OPTIONAL) - {"all", "fuzz", "photos", "test"}


class Unrecorded:
    """A folder *.egg-info in a checkout, which Python finds before the installation."""

    def read_text(self, name: str) -> None:
        return None


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        ({"dir_info": {}}, "pip install '{folder}[heif]'"),
        ({"dir_info": {"editable": True}}, "pip install --editable '{folder}[heif]'"),
        (
            {"url": "https://host/u.git", "vcs_info": {"vcs": "git"}},
            "pip install 'underpaint[heif] @ git+https://host/u.git'",
        ),
        (
            {"url": "https://host/u.whl", "archive_info": {}},
            "pip install 'underpaint[heif] @ https://host/u.whl'",
        ),
        (
            {"url": "file:///not/there", "dir_info": {}},
            "pip install --constraint constraints.txt '.[heif]' in the folder of Underpaint",
        ),
        (None, "pip install --constraint constraints.txt '.[heif]' in the folder of Underpaint"),
    ],
)
def test_the_command_for_an_extra_names_what_the_package_was_installed_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: dict[str, Any] | None, command: str
) -> None:
    class Installed:
        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            return None if origin is None else json.dumps({"url": tmp_path.as_uri(), **origin})

    monkeypatch.setattr(extras, "distributions", lambda name: [Unrecorded(), Installed()])
    assert install_hint("heif") == command.format(folder=tmp_path)


def test_the_command_for_an_extra_holds_the_constraints_of_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Installed:
        def read_text(self, name: str) -> str:
            return json.dumps({"url": (tmp_path / "a b").as_uri(), "dir_info": {}})

    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "constraints.txt").touch()
    monkeypatch.setattr(extras, "distributions", lambda name: [Unrecorded(), Installed()])
    folder = tmp_path / "a b"
    constraints = f"--constraint '{folder}/constraints.txt'"
    assert install_hint("gcs") == f"pip install {constraints} '{folder}[gcs]'"


def test_an_unknown_scheme_is_a_mistake_of_the_user() -> None:
    with pytest.raises(UsageError, match="nothing://bucket"):
        file_system("nothing://bucket/archive")


def test_a_local_path_is_no_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "zip::b.jpg"
    assert is_chain(path.name)
    path.write_bytes(b"x")
    assert not is_chain(path.name)
    assert is_chain(f"zip://a.jpg::{path}")
    assert is_chain(f"simplecache::{path}")
    for new in ("o::ut", "./zip::new", "2026-01-01::zip"):
        assert not is_chain(new)
        assert file_system(new)[1] == str(tmp_path / new)
    for address in (path.name, str(path)):
        fs, opened = file_system(address)
        assert (opened, fs.cat_file(opened)) == (str(path), b"x")


@pytest.mark.parametrize("url", ["http://[::1]/a.zip", "https://me@[fe80::1]:8443/b?c=1"])
def test_a_host_by_its_ipv6_address_makes_no_chain(url: str) -> None:
    assert not is_chain(url)
    assert file_system(url)[1] == url
    assert is_chain(f"zip://a.png::{url}")
    with pytest.raises(UsageError, match="a chain cannot hold an IPv6 host; give the name"):
        file_system(f"zip://a.png::{url}")


def test_brackets_are_no_hosts_elsewhere(tmp_path: Path) -> None:
    assert is_chain(f"zip://[1].png::{tmp_path}/a.zip")
    assert is_chain("simplecache::http://host/[1].png")


@pytest.mark.parametrize(
    "url", ["http://[bad/x", "https://[::g]/x", "http://host:99999/x", "http:///x", "http://h:0/"]
)
def test_a_web_address_that_cannot_be_is_a_mistake(url: str) -> None:
    with pytest.raises(UsageError, match="not a valid web address; correct it") as caught:
        file_system(url)
    assert str(caught.value).startswith(url)
