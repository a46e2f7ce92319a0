"""Extras: the table in the code agrees with pyproject.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from underpaint.codec.errors import UsageError
from underpaint.codec.storage.extras import EXTRAS, SCHEMES, file_system, missing_extra

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


def test_an_unknown_scheme_is_a_mistake_of_the_user() -> None:
    with pytest.raises(UsageError, match="nothing://bucket"):
        file_system("nothing://bucket/archive")
