"""Levels of theory: what tells two of them apart, and what a message says of it."""

from dataclasses import replace

import pytest

from helpers.fakes import LEVEL
from phasewalk.errors import InputError
from phasewalk.labels import levels
from phasewalk.labels.levels import Level

THEORY = {"FORCE_EVAL/DFT/MGRID/CUTOFF": 400.0, "FORCE_EVAL/DFT/XC/XC_FUNCTIONAL": "PBE"}
CP2K = Level("CP2K", "CP2K 2023.1", THEORY, {"BASIS_MOLOPT": "ab" * 32})


def test_levels_differ_in_program_version_settings_files_and_cell() -> None:
    others = [
        CP2K,
        CP2K.at(4),
        replace(CP2K, program="CP2K+"),
        replace(CP2K, version="CP2K 2024.1"),
        replace(CP2K, settings={**THEORY, "FORCE_EVAL/DFT/MGRID/CUTOFF": 401.0}),
        replace(CP2K, files={"BASIS_MOLOPT": "cd" * 32}),
        LEVEL,
    ]
    assert len({level.key for level in others}) == len(others)


def test_the_order_of_settings_is_no_difference() -> None:
    turned = replace(CP2K, settings=dict(reversed(THEORY.items())))
    assert turned.key == CP2K.key


def test_the_method_is_all_but_the_cell() -> None:
    assert CP2K.at(4).method == CP2K.method == levels.method_of(CP2K.at(4).key)
    assert levels.method_of("") == ""


def test_there_and_back() -> None:
    assert levels.from_dict(CP2K.as_dict()) == CP2K


@pytest.mark.parametrize("data", [None, 3, {}, {"program": "x"}, {**CP2K.as_dict(), "files": 3}])
def test_what_is_no_level(data: object) -> None:
    with pytest.raises(InputError, match="not a level of theory"):
        levels.from_dict(data)


def test_a_difference_names_what_differs_and_nothing_else() -> None:
    other = Level(
        "CP2K",
        "CP2K 2023.1",
        {"FORCE_EVAL/DFT/MGRID/CUTOFF": 300.0, "FORCE_EVAL/DFT/CHARGE": 1},
        {"BASIS_MOLOPT": "cd" * 32},
    )
    text = levels.difference(other.as_dict(), CP2K.as_dict())
    assert text == (
        "FORCE_EVAL/DFT/CHARGE: 1 | (absent); FORCE_EVAL/DFT/MGRID/CUTOFF: 300.0 | 400.0; "
        "FORCE_EVAL/DFT/XC/XC_FUNCTIONAL: (absent) | PBE; "
        "files/BASIS_MOLOPT: sha256 cdcdcdcdcdcd… | sha256 abababababab…"
    )
    assert levels.difference(CP2K.as_dict(), CP2K.as_dict()) == ""


def test_a_long_difference_is_cut() -> None:
    many = {f"k{i}": i for i in range(20)}
    assert levels.difference(many, {}).endswith("; and 14 more")
