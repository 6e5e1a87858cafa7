"""What every test shares: which engines are there, and hypothesis without surprises."""

import sys
from pathlib import Path

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
