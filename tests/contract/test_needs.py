"""A missing engine skips here, and fails where it was promised."""

import pytest

from helpers import needs


@pytest.fixture(autouse=True)
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "LOOKS", {"lammps": lambda: False, "nequip": lambda: True})


@pytest.mark.parametrize("required", ["", "tblite plumed"])
def test_a_missing_engine_skips(monkeypatch: pytest.MonkeyPatch, required: str) -> None:
    monkeypatch.setenv("REQUIRE_ENGINES", required)
    with pytest.raises(pytest.skip.Exception, match="lammps is missing"):
        needs.require("lammps")


@pytest.mark.parametrize("required", ["all", "lammps", "tblite,lammps", "plumed lammps"])
def test_a_promised_engine_fails(monkeypatch: pytest.MonkeyPatch, required: str) -> None:
    monkeypatch.setenv("REQUIRE_ENGINES", required)
    with pytest.raises(pytest.fail.Exception, match=r"lammps is missing, and REQUIRE_ENGINES is"):
        needs.require("lammps")


def test_one_that_is_there_is_no_matter() -> None:
    needs.require("nequip")
