"""What the tests on a real Slurm share: their marks, and a cluster for each file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import slurm

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them start a Slurm cluster."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.slurm)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module")
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[slurm.Cluster]:
    """A cluster of as many nodes as the file's NODES says."""
    nodes = getattr(request.module, "NODES", 3)
    with slurm.started(tmp_path_factory.mktemp("slurm"), nodes=nodes) as made:
        yield made
