"""Every command that README and tutorial show is executed, in their order, in a scratch folder."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from helpers.documents import DOCS, ROOT, blocks
from phasewalk.engines.discovery import cache_dir

pytestmark = [
    pytest.mark.engine("lammps", "plumed", "plugin", "nequip", "tblite"),
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]
NOT_HERE: Mapping[str, str] = {
    "make setup": "CI begins with it (.ci/run)",
    "make example": "a quarter of an hour; its commands are those of the tutorial, which run here",
    "make test": "CI runs it, and this test is a part of it",
    ". .venv/bin/activate": "changes the shell that reads it",
}
"""Beginnings of commands that are not run here, each with its reason."""
RUN = ("phasewalk", "cp")
"""Programs that are run here."""
SMALL: Mapping[str, Any] = {
    "rounds": 2,
    "bootstrap": {"count": 8, "displacement_A": 0.05, "strain": 0.03},
    "segment": {"steps": 60, "dump_every_steps": 20},
    "validation_every": 4,
    "policy": {"max_energy_error_meV_per_atom": None},
    "deploy": {"mode": "torchscript", "device": "cpu"},
    "model": {
        "preset": "tiny",
        "max_force_error_ratio": None,
        "first": {"epochs": 20, "learning_rate": 0.01},
        "warm": {"epochs": 5, "learning_rate": 0.005},
        "final": {"budget": {"epochs": 5, "learning_rate": 0.005}},
    },
}
"""What makes a campaign small: a proof that commands work, not a potential."""


def documented(page: Path) -> list[str]:
    return [command for block in blocks(page) for command in block.commands]


PAGES = {page.stem: documented(page) for page in (ROOT / "README.md", DOCS / "tutorial.md")}


def reason(command: str) -> str | None:
    """Why a command is not run here; None where it is."""
    return next((why for start, why in NOT_HERE.items() if command.startswith(start)), None)


def shrink(file: Path) -> None:
    """Make a campaign file small; what it explores, and how, stays."""
    yaml = YAML(pure=True)
    data = yaml.load(file.read_text())
    for key, value in SMALL.items():
        data[key] = value
    for system in data["systems"].values():
        system |= {"walkers": 2, "bonds": "free"}  # no bond outlives so poor a potential
    data["test_data"] = "test.extxyz@:3"
    with file.open("w") as stream:
        yaml.dump(data, stream)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The examples, made small, in a folder like the checkout; and the plugin that was built."""
    folder = tmp_path_factory.mktemp("documented")
    shutil.copytree(ROOT / "examples", folder / "examples")
    shutil.copytree(cache_dir(os.environ) / "plugin", folder / "cache/plugin")
    shrink(folder / "examples/mil53_al/campaign.yaml")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def environment(folder: Path) -> dict[str, str]:
    """A cache of its own, and `phasewalk` as this Python has it."""
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": programs, "PHASEWALK_CACHE": str(folder / "cache")}


SMALLER: Mapping[str, str] = {
    "--segments 10": "--segments 1",
    "--segments 8": "--segments 1",
    "--against-reference 72": "--against-reference 4",
    "submit my.yaml --site lab": "submit my.yaml --site lab --dry-run",
    "last.ckpt --mode aotinductor -o my.nequip.pt2": "last.ckpt -o my.nequip.pth",
}
"""What is asked for less of here, since the campaign has two rounds; the tutorial compiles once."""


def run(command: str, folder: Path) -> str:
    """Output of a command; AssertionError with all of it where it fails."""
    for shown, small in SMALLER.items():
        command = command.replace(shown, small)
    words = shlex.split(command)
    argv = [sys.executable, "-m", *words] if words[0] == "phasewalk" else words
    done = subprocess.run(
        argv, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def own_material(folder: Path) -> None:
    """As the README says: a copy of the example as my.yaml, with its structure beside it."""
    example = folder / "examples/mil53_al"
    for name in ("mil53_al.extxyz", "test.extxyz"):
        shutil.copy(example / name, folder)
    shutil.copy(example / "campaign.yaml", folder / "my.yaml")


def checkpoint(folder: Path) -> None:
    """Any checkpoint of nequip-train."""
    shutil.copy(folder / "my.run/models/final/checkpoint.ckpt", folder / "last.ckpt")


def learned_before(folder: Path) -> None:
    """The campaign of the README's page, where it ran before: the same settings, so it goes on."""
    if (folder / "my.run").is_dir():
        shutil.copytree(folder / "my.run", folder / "campaigns/mil53_al", symlinks=True)


def site(folder: Path) -> None:
    """A site file of the name that the README uses: this machine."""
    (folder / "lab.yaml").write_text("site: lab\nscheduler: none\n")


def cluster(folder: Path) -> None:
    """The same name for a cluster."""
    (folder / "lab.yaml").write_text("site: lab\n")


def production(folder: Path) -> None:
    """A short run of that campaign's last model, in a cell of its own size."""
    (folder / "production.yaml").write_text(
        "{campaign: my.run, structure: mil53_al, length_ps: 0.1, thermo_every_steps: 5, "
        "dump_every_steps: 10, restart_every_steps: 100}\n"
    )


BEFORE: Mapping[str, Callable[[Path], None]] = {
    "phasewalk run examples/mil53_al/campaign.yaml --dir campaigns/mil53_al": learned_before,
    "phasewalk check my.yaml": own_material,
    "phasewalk run my.yaml --site": site,
    "phasewalk submit my.yaml": cluster,
    "phasewalk deploy last.ckpt": checkpoint,
    "phasewalk produce production.yaml": production,
}
"""What the text tells the reader to have done before a command, or what saves time here."""


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_run_or_has_a_reason_not_to(page: str) -> None:
    commands = PAGES[page]
    assert len(commands) > 8
    unclassified = [
        command
        for command in commands
        if reason(command) is None and shlex.split(command)[0] not in RUN
    ]
    assert unclassified == []


def test_no_reason_is_left_over() -> None:
    shown = [command for commands in PAGES.values() for command in commands]
    assert [start for start in NOT_HERE if not any(c.startswith(start) for c in shown)] == []


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_work(page: str, place: Path) -> None:
    ran = 0
    for command in PAGES[page]:
        for start, prepare in BEFORE.items():
            if command.startswith(start):
                prepare(place)
        if reason(command) is None:
            run(command, place)
            ran += 1
    assert ran > 8
