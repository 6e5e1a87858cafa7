"""What every test shares: which engines are there, and hypothesis without surprises."""

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

from helpers import needs

settings.register_profile("phasewalk", deadline=None, derandomize=True, database=None)
settings.load_profile("phasewalk")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """`@pytest.mark.engine("lammps", "tblite")` names what a test cannot do without."""
    for marker in item.iter_markers("engine"):
        for name in marker.args:
            needs.require(name)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Prints the rows that tests recorded with `record_property("parity", row)` or "ensemble"."""
    _parity(terminalreporter)
    _ensemble(terminalreporter)


def _rows(terminalreporter: Any, name: str) -> list[tuple[Any, ...]]:
    """All rows of a table."""
    reports = terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", [])
    return [tuple(value) for r in reports for key, value in r.user_properties if key == name]


def _ensemble(terminalreporter: Any) -> None:
    """What was asked of the deck's ensembles, and what was measured."""
    rows = _rows(terminalreporter, "ensemble")
    if rows:
        terminalreporter.section("The ensembles of the deck: asked and measured")
        terminalreporter.write_line(f"{'run':<52}{'quantity':<26}{'asked':>9}{'measured':>18}")
    for run, quantity, asked, found, error in sorted(rows):
        terminalreporter.write_line(
            f"{run:<52}{quantity:<26}{asked:>9.1f}{f'{found:.1f} ± {error:.1f}':>18}"
        )


def _parity(terminalreporter: Any) -> None:
    """The largest differences between LAMMPS and ASE."""
    rows = sorted(_rows(terminalreporter, "parity"))
    if rows:
        terminalreporter.section("LAMMPS against ASE: largest differences")
        terminalreporter.write_line(
            f"{'model':<13}{'dtype':<9}{'cell':<12}{'energy eV':>11}{'forces eV/Å':>13}"
            f"{'stress eV/Å³':>14}"
        )
    for kind, dtype, cell, energy, forces, stress in rows:
        terminalreporter.write_line(
            f"{kind:<13}{dtype:<9}{cell:<12}{energy:>11.1e}{forces:>13.1e}{stress:>14.1e}"
        )
