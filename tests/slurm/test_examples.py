"""What a dry run shows for the two example sites: a real Slurm accepts each script and command."""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import slurm
from helpers.campaigns import PHASEWALK
from helpers.fakes import SALT, write_campaign

pytestmark = pytest.mark.engine("lammps", "plumed", "nequip", "tblite")
SITES = Path(__file__).parents[2] / "examples/sites"
KINDS = ["label", "segment", "train", "compile", "evaluate"]
PLACES = ("--chdir", "--output", "--signal", "--requeue", "--open-mode", "--job-name")
"""Options that are not of an allocation."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm.Cluster]:
    """Nodes that say that they have much: nothing of it is used."""
    how = {"nodes": 2, "cpus": 16, "gpus": 8, "memory_MB": 250_000}
    with slurm.started(tmp_path_factory.mktemp("slurm"), **how) as made:
        yield made


def shown(folder: Path, site: str) -> dict[str, str]:
    """Kind → what a dry run shows, with the partitions of the cluster."""
    text = (SITES / f"{site}.yaml").read_text()
    text = text.replace("small-g", "gpu").replace("partition: small", "partition: cpu")
    (folder / "here.yaml").write_text(text)
    words = ("submit", str(write_campaign(folder, SALT)), "--site", "here", "--dry-run")
    out = subprocess.run([*PHASEWALK, *words], capture_output=True, text=True, check=True).stdout
    parts = re.split(r"^### (\w+): .*\n", out, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def options(script: str) -> list[str]:
    return [shlex.split(x)[1] for x in script.splitlines() if x.startswith("#SBATCH ")]


def accepted(cluster: slurm.Cluster, folder: Path, script: str) -> str:
    """What sbatch says of a script without submitting it: when it would start, and where."""
    (folder / "script").write_text(script)
    words = ["sbatch", "--test-only", str(folder / "script")]
    done = subprocess.run(words, env={**os.environ, **cluster.env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


def starts(words: list[str], environ: dict[str, str], folder: Path) -> None:
    """Srun accepts the options before a program, in the allocation of an environment."""
    count = next(i for i, word in enumerate(words[1:], 1) if not word.startswith("--"))
    done = subprocess.run(
        [*words[:count], "true"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr


def test_batch_jobs(large: slurm.Cluster, tmp_path: Path) -> None:
    found = shown(tmp_path, "lumi")
    assert list(found) == ["driver", *KINDS]
    for kind, text in found.items():
        where = "n1" if kind not in ("driver", "label") else "n2"
        assert f"nodes {where} in partition" in accepted(large, tmp_path, text)
        words = shlex.split(text.splitlines()[-2].partition(": ")[2])
        if words[:1] != ["srun"]:
            assert kind != "segment"
            continue
        given = [word for word in options(text) if not word.startswith(PLACES)]
        with slurm.allocated(large, *given) as environ:
            starts(words, {**environ, "SLURM_EXPORT_ENV": "NONE", "SLURM_NTASKS": "1"}, tmp_path)


def test_steps(large: slurm.Cluster, tmp_path: Path) -> None:
    found = shown(tmp_path, "slurm")
    assert list(found) == ["driver", *KINDS]
    assert "nodes n1 in partition gpu" in accepted(large, tmp_path, found["driver"])
    given = [word for word in options(found["driver"]) if not word.startswith(PLACES)]
    with slurm.allocated(large, *given) as environ:
        for kind in KINDS:
            words = shlex.split(found[kind].replace("NODE1", "n1"))
            starts(words, environ, tmp_path)
