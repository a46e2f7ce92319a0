"""Errors have stable codes, and cross the border between processes whole."""

import pickle
import re

import pytest

from underpaint.codec import errors
from underpaint.codec.errors import LayerDamaged, UnderpaintError, UnitConflict, WeightsDamaged

CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, UnderpaintError)
]


def test_every_class_has_a_code_of_its_own():
    codes = [vars(each)["code"] for each in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)


@pytest.mark.parametrize(
    "error",
    [
        LayerDamaged(2, "S4", "checksum mismatch"),
        WeightsDamaged("not finite", rule="W8"),
        UnitConflict("unit-7", {"rows": 3}),
        errors.UsageError("no such folder: x"),
    ],
)
def test_errors_are_pickled_with_all_they_carry(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_messages_number_layers_from_one():
    assert str(LayerDamaged(0, "S9", "missing")) == "layer 1: missing"
