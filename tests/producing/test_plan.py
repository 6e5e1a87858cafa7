"""What a production run is made from, and what is refused before anything starts.

Golden decks change on purpose with `PHASEWALK_GOLDEN=write pytest tests/producing/test_plan.py`.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from helpers import fake_campaign, fake_engines
from helpers.fake_campaign import FakeCampaign
from helpers.fake_engines import FakeEngines
from helpers.fakes import FakeLauncher
from helpers.productions import restart
from phasewalk.engines import here
from phasewalk.engines.discovery import Plumed
from phasewalk.errors import EngineFailed, EngineMissing, InputError, ParseError, StoreError
from phasewalk.exports import export
from phasewalk.files import file_hash
from phasewalk.jobs import Finished, Job
from phasewalk.models import Deployed, name_for_ranks
from phasewalk.producing import deck, memory, needs, running, settings, starts, written
from phasewalk.producing.plan import Begun, Plan, for_ranks, make
from phasewalk.producing.room import Room
from phasewalk.producing.written import Written
from phasewalk.rounds import read_states, states_file

FINAL = "{budget: {epochs: 2, learning_rate: 0.01}}"
MACHINE = replace(here(), has_compiler=True)
BASE = {"campaign": "a/run", "structure": "NaCl", "length_ps": 10, "ensemble": "npt"}
OPES = "v: VOLUME\no: OPES_METAD ARG=v SIGMA=1 BARRIER=5 PACE=50"
METAD = "v: VOLUME\nm: METAD ARG=v SIGMA=1 HEIGHT=1 PACE=50\nPRINT ARG=v STRIDE=10\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished campaign with both forms of its last model, in a/run."""
    folder = tmp_path_factory.mktemp("production")
    made: FakeCampaign = fake_campaign.make(
        folder / "a", mode="auto", final=FINAL, programs=FakeEngines(machine=MACHINE)
    )
    made.run()
    return folder


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whose walkers have two ranks, in a/run, and its potential, in a/potential."""
    folder = tmp_path_factory.mktemp("several")
    made = fake_campaign.make(
        folder / "a", mode="auto", final=FINAL, more="resources: {ranks_per_walker: 2}",
        programs=FakeEngines(machine=MACHINE),
    )  # fmt: skip
    made.run()
    launcher = FakeLauncher(lambda job: 1)  # nequip-package
    export(made.root, folder / "a/potential", generation=None, launcher=launcher, place=folder)
    ase.io.write(folder / "salt.extxyz", bulk("NaCl", "rocksalt", a=5.64, cubic=True))
    return folder


@pytest.fixture
def clean(place: Path) -> Iterator[Path]:
    before = set(place.iterdir())
    yield place
    for path in set(place.iterdir()) - before:
        if path.is_file():
            path.unlink()


def planned(place: Path, **keys: object) -> Plan:
    file = place / "p.yaml"
    file.write_text(json.dumps({**BASE, **keys}))  # JSON is YAML
    room = Room(memory_GB=memory.free())
    return for_ranks(make(settings.read(file), file, MACHINE, room=room), MACHINE)


def check(plan: Plan, folder: Path, *, plumed: Plumed | None = None, **room: Any) -> None:
    """What is looked at before the start, with so many cores and GPUs."""
    needs.check_plumed(plan, replace(fake_engines.engines(folder), plumed=plumed))
    needs.check(plan, needs.estimate(plan), folder, Room(**room))


def test_the_fast_form_of_the_last_model(clean: Path) -> None:
    plan = planned(clean)
    assert plan.model.generation == "final"
    assert plan.model.file.parts[-3:] == ("final", "aotinductor-cpu", "model.nequip.pt2")
    assert deck.model_name(plan) == "model.nequip.pt2"
    assert planned(clean, generation=0).model.generation == "0"


def test_a_model_from_an_exported_folder(clean: Path, tmp_path: Path) -> None:
    made = clean / "a/run/models/final/torchscript-cpu"
    shutil.copy(made / "model.nequip.pth", tmp_path)
    shutil.copy(made / "stamp.json", tmp_path / "model.nequip.pth.json")
    ase.io.write(clean / "salt.extxyz", bulk("NaCl", "rocksalt", a=5.64, cubic=True))
    plan = planned(clean, campaign=str(tmp_path), structure="salt.extxyz")
    assert (plan.model.generation, plan.model.file) == ("", tmp_path / "model.nequip.pth")
    assert deck.model_name(plan) == "model.nequip.pth"
    for keys, message in (
        ({"generation": 1}, r"generation: 1: .* has one model; remove this key"),
        ({"structure": "NaCl"}, "NaCl: no such file, system or walker$"),
        ({"ranks": 2}, "make it with phasewalk deploy --mode torchscript --target ranks -o .*"),
    ):
        with pytest.raises(InputError, match=message):
            planned(clean, **{"campaign": str(tmp_path), "structure": "salt.extxyz", **keys})


@pytest.mark.parametrize(
    ("supercell", "count", "volume"),
    [([2, 1, 3], 6, 6), ([[0, 1, 1], [1, 0, 1], [1, 1, 0]], 2, 2), ([1, 1, 1], 1, 1)],
)
def test_supercells(clean: Path, supercell: object, count: int, volume: int) -> None:
    plan = planned(clean, supercell=supercell)
    cell = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    assert len(plan.atoms) == 8 * count
    assert plan.atoms.get_volume() == pytest.approx(volume * cell.get_volume())
    assert not np.triu(plan.atoms.cell.array, 1).any()  # as LAMMPS needs it
    distances = plan.atoms.get_all_distances(mic=True)
    np.fill_diagonal(distances, np.inf)
    assert distances.min() == pytest.approx(5.64 / 2)


def test_a_walker_s_last_good_frame(clean: Path) -> None:
    plan = planned(clean, structure="NaCl-1", supercell=[2, 1, 1])
    state = read_states(clean / "a/run" / states_file(1))[1]
    assert (state.walker, plan.source["walker"]) == ("NaCl-1", "NaCl-1")
    frame: Atoms = state.frames[0][1]
    assert plan.atoms.get_volume() == pytest.approx(2 * frame.get_volume())
    assert not plan.atoms.has("momenta")


def test_fixed_atoms_stay_fixed_in_each_cell(clean: Path) -> None:
    from ase.constraints import FixAtoms

    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.set_constraint(FixAtoms([3]))
    ase.io.write(clean / "fixed.extxyz", atoms)
    plan = planned(clean, structure="fixed.extxyz", supercell=[1, 1, 2])
    text = deck.texts(plan, "walker-0", step=0)["walker-0.lmp"]
    assert "group fixed id 4 12\n" in text


def test_decks_of_several_walkers(clean: Path) -> None:
    plan = planned(clean, walkers=2, plumed=METAD, dump_every_steps=40)
    texts = [deck.texts(plan, walker, step=0) for walker in plan.walkers]
    one, other = (text[f"walker-{n}.lmp"] for n, text in enumerate(texts))
    assert one.replace("walker-0", "walker-1") != other  # other seeds
    assert "read_data start.data\n" in one
    assert "run 20000 upto\n" in one
    again = texts[0]["walker-0.continue.lmp"]
    assert "read_restart walker-0.restart\n" in again
    assert "velocity" not in again
    later = deck.texts(plan, "walker-0", step=500)["walker-0.continue.lmp"]
    assert later != again  # other random forces
    assert "variable deck world walker-0 walker-1.continue\n" in deck.main(
        plan, {"walker-0": 0, "walker-1": 500}
    )
    assert "FILE=m.hills RESTART=YES WALKERS_N=2 WALKERS_ID=1" in texts[1]["walker-1.plumed"]
    assert [one.name for one in deck.series(plan, "walker-1")] == [
        *("walker-1.thermo", "walker-1.dump", "walker-1.colvar", "m.hills.1"),
    ]


@pytest.mark.parametrize("name", ["walker-0.lmp", "walker-0.continue.lmp"])
def test_golden_deck(clean: Path, name: str) -> None:
    path = Path(__file__).parents[2] / "lammps_inputs/examples" / f"production-{name}"
    text = deck.texts(planned(clean, plumed=METAD), "walker-0", step=500)[name]
    if os.environ.get("PHASEWALK_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


def test_opes_reads_its_kernels_when_there_are_some(clean: Path) -> None:
    text = "v: VOLUME\no: OPES_METAD ARG=v SIGMA=1 BARRIER=5 PACE=50 FILE=K RESTART=NO\n"
    plan = planned(clean, plumed=text)
    for step, again in ((0, "NO"), (49, "NO"), (50, "YES")):
        ours = deck.texts(plan, "walker-0", step=step)["walker-0.plumed"]
        words = f"FILE=walker-0.out.o.kernels RESTART={again} ARG=v SIGMA=1 BARRIER=5 PACE=50"
        assert " ".join(ours.split()).count(words) == 1
        assert ours.count("FILE") == 1
    kernels = deck.series(plan, "walker-0")[-1]
    assert (kernels.name, kernels.every, kernels.first) == ("walker-0.out.o.kernels", 50, 50)
    assert "kernels" in needs.estimate(plan).files_GB


@pytest.mark.parametrize(("steps", "every", "flush"), [(20000, 100, 10), (1006, 140, 2), (7, 4, 1)])
def test_plumed_has_written_all_when_there_is_a_restart_file(
    clean: Path, steps: int, every: int, flush: int
) -> None:
    keys = {"length_ps": steps * 0.5e-3, "restart_every_steps": every}
    plan = planned(clean, plumed=METAD, **keys)
    assert plan.settings.steps == steps
    ours = deck.texts(plan, "walker-0", step=0)["walker-0.plumed"]
    assert ours.endswith(f"FLUSH STRIDE={flush}\n")


def test_what_it_will_write(clean: Path) -> None:
    plan = planned(clean, plumed=METAD, dump_every_steps=10, supercell=[2, 2, 2])
    found = needs.estimate(plan)
    assert (found.atoms, found.steps, found.frames) == (64, 20000, 2000)
    assert set(found.files_GB) == {"frames", "restart files", "thermo", "log", "colvar", "hills"}
    written = f"1 1 Cl {' '.join(['2.123456789'] * 3)} 0 0 0 \n"  # not as short as at the start
    assert 1.0 < found.files_GB["frames"] * 1e9 / (2000 * 64 * len(written)) < 1.4
    text = "\n".join(found.lines())
    assert "64 atoms, 20000 steps, about " in text


REFUSED = {
    "campaign": ({"campaign": "b"}, "neither a campaign directory nor a folder of phasewalk"),
    "generation": ({"generation": 7}, "generation 7: not found"),
    "structure": ({"structure": "KCl"}, "KCl: no such file, system or walker .the campaign has"),
    "cells": ({"supercell": [2, 2]}, "supercell: .*three integers, or three lists"),
    "float": ({"supercell": [2, 2, 2.5]}, "supercell: .*three integers, or three lists"),
    "flat": ({"supercell": [[1, 0, 0], [0, 1, 0], [1, 1, 0]]}, "its determinant must be 1"),
    "negative": ({"supercell": [-1, 1, 1]}, "its determinant must be 1"),
    "nothing": ({"supercell": [0, 1, 1]}, "its determinant must be 1"),
    "huge": ({"supercell": [10**9] * 3}, "supercell: 8000000000000000000000000000 atoms need "),
    "large": ({"supercell": [999, 999, 999]}, r"supercell: 7976023992 atoms need about .* GB of"),
    "ranks": ({"ranks": 0}, "ranks: must be at least 1"),
    "walkers": ({"walkers": 10000}, r"GB of memory .walkers: 10000, ranks: 1., .* fewer walkers"),
    "left": ({"supercell": [[0, 1, 0], [1, 0, 0], [0, 0, 1]]}, "its determinant must be 1"),
    "pressure": ({"ensemble": "nvt", "pressure_MPa": 1}, "no meaning at constant volume"),
    "damping": ({"barostat_damping_fs": 3}, "barostat_damping_fs: 3 is less than 50 time steps"),
    "short": ({"length_ps": 0.0001}, "less than one time step"),
    "key": ({"lenght": 1}, "lenght: unknown key; did you mean length_ps"),
    "exchange": ({"ranks": 2}, "phasewalk deploy .*checkpoint.ckpt --mode aotinductor --target ra"),
    "plumed file": ({"plumed": "no.dat"}, "no.dat: no such file"),
    "history": ({"plumed": "PBMETAD ARG=v"}, "cannot be continued"),
    "cell bias": ({"ensemble": "nvt", "plumed": METAD}, "biases the cell"),
    "OPES on the cell": ({"ensemble": "nvt", "plumed": OPES}, "biases the cell"),
    "output": ({"plumed": "v: VOLUME\nDUMPATOMS ATOMS=1 FILE=x.xyz"}, "DUMPATOMS: its file cannot"),
    "units": ({"plumed": f"UNITS TIME=ns\n{METAD}"}, "six digits, too few"),
    "adaptive": ({"plumed": OPES.replace("SIGMA=1", "SIGMA=ADAPTIVE")}, "adaptive SIGMA"),
    "opes walkers": ({"plumed": OPES, "walkers": 2}, "OPES shares its kernels through MPI only"),
    "opes label": ({"plumed": OPES.replace("o: ", "")}, "OPES needs a label"),
    "opes state": ({"plumed": f"{OPES} STATE_WFILE=s"}, "STATE_WFILE is not supported here"),
    "expanded": ({"plumed": "v: VOLUME\nOPES_EXPANDED ARG=v"}, "cannot be continued"),
    "atoms": ({"plumed": "d: DISTANCE ATOMS=1,99"}, "99"),
    "restart": ({"plumed": f"RESTART\n{METAD}"}, "RESTART: not supported here"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(clean: Path, case: str) -> None:
    keys, message = REFUSED[case]
    with pytest.raises((InputError, StoreError), match=message) as caught:
        planned(clean, **keys)
    assert "\n" not in str(caught.value)


def exchange(place: Path, **changes: object) -> Path:
    """A file for several ranks beside the production file."""
    model = place / "a/run/models/final/aotinductor-cpu"
    stamp = json.loads((model / "stamp.json").read_text())
    file = place / "model.exchange.nequip.pt2"
    file.write_bytes(b"a model")
    made = {**stamp, "file": file.name, "sha256": file_hash(file), **changes}
    (place / f"{file.name}.json").write_text(json.dumps(made))
    return file


def test_a_file_for_several_ranks(clean: Path) -> None:
    file = exchange(clean)
    plan = planned(clean, ranks=2)
    assert plan.model.exchange == file
    assert name_for_ranks(deck.model_name(plan)) == file.name


@pytest.mark.parametrize("campaign", ["a/run", "a/potential"])
def test_a_campaign_s_own_file_for_several_ranks(several: Path, campaign: str) -> None:
    """Its walkers had several ranks; also from the folder of `phasewalk export`."""
    keys = {"campaign": campaign, "structure": "salt.extxyz", "supercell": [2, 2, 2]}
    plan = planned(several, ranks=2, **keys)
    assert plan.model.file.name == "model.nequip.pt2"
    file = plan.model.exchange
    assert file == plan.model.file.with_name("model.exchange.nequip.pt2")
    before = file.read_bytes()
    file.write_bytes(before[:-1])
    with pytest.raises(InputError, match=r"model\.exchange\.nequip\.pt2") as caught:
        planned(several, ranks=2, **keys)
    assert "\n" not in str(caught.value)
    file.write_bytes(before)
    assert planned(several, ranks=1, **keys).identity() == plan.identity()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checkpoint": "0" * 64}, "made from another checkpoint than .*; make it: phasewalk dep"),
        ({"mode": "torchscript"}, "made from another checkpoint than .*; make it: phasewalk dep"),
        ({"device": "cuda"}, "exchange.nequip.pt2: for cuda, and .*model.nequip.pt2 is not; make"),
        ({"torch": "1.0"}, "compiled for torch 1.0, but this machine has .*; make it: phasewalk"),
        ({"sha256": "0" * 64}, "not the file of its stamp: damaged, or replaced; make it again$"),
    ],
)
def test_a_file_for_several_ranks_that_is_not_of_the_model(
    clean: Path, changes: dict[str, object], message: str
) -> None:
    exchange(clean, **changes)
    with pytest.raises(InputError, match=message) as caught:
        planned(clean, ranks=2)
    assert "\n" not in str(caught.value)


def test_a_damaged_file_for_several_ranks(clean: Path) -> None:
    file = exchange(clean)
    file.write_bytes(b"a mod")
    with pytest.raises(InputError, match="not the file of its stamp: damaged"):
        planned(clean, ranks=2)
    (clean / f"{file.name}.json").write_text("{")
    with pytest.raises(ParseError, match="not a deployed model's stamp"):
        planned(clean, ranks=2)
    (clean / f"{file.name}.json").unlink()
    with pytest.raises(InputError, match=f"has no stamp, {file.name}.json; make it: phasewalk"):
        planned(clean, ranks=2)


def test_the_command_in_the_message_is_for_a_shell(place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my runs"
    folder.mkdir()
    (folder / "a").symlink_to(place / "a")
    with pytest.raises(InputError) as caught:
        planned(folder, ranks=2)
    words = shlex.split(str(caught.value).partition("make it: ")[2])
    assert words[:2] == ["phasewalk", "deploy"]
    assert words[2] == f"{folder}/a/run/models/final/checkpoint.ckpt"
    assert words[-1] == f"{folder}/model.exchange.nequip.pt2"


def test_more_ranks_than_make_sense(clean: Path) -> None:
    exchange(clean)
    plan = planned(clean, ranks=27, supercell=[2, 2, 2])  # 11.3 Å, cutoff 4 Å
    with pytest.raises(InputError, match=r"3 × 3 × 3 parts, thinner .* 4 Å; use at most 8"):
        check(plan, clean / "run", cores=64)
    plan = planned(clean, ranks=8, supercell=[2, 2, 2])
    check(plan, clean / "run", cores=8)
    with pytest.raises(InputError, match=r"1 × 8 ranks on 2 cores .* use at most 2"):
        check(plan, clean / "run", cores=2)
    plan = planned(clean, ranks=2, walkers=4, supercell=[2, 2, 2])
    with pytest.raises(InputError, match=r"4 × 2 ranks on 2 cores .* use ranks: 1, or fewer walk"):
        check(plan, clean / "run", cores=2)


def test_each_rank_of_a_walker_needs_a_gpu(clean: Path) -> None:
    exchange(clean)
    plan = planned(clean, ranks=2, walkers=2, supercell=[2, 2, 2])
    check(plan, clean / "run", cores=8, gpus=1)  # a model for processors
    on_gpu = replace(plan.model, stamp=replace(plan.model.stamp, device="cuda"))
    plan = replace(plan, model=on_gpu)
    with pytest.raises(InputError, match=r"2 ranks of a walker, .* but there are 1; use at most 1"):
        check(plan, clean / "run", cores=8, gpus=1)
    check(plan, clean / "run", cores=8, gpus=2)  # the walkers share them
    check(plan, clean / "run", cores=8)  # not known


def test_several_walkers_need_a_plumed_without_mpi(clean: Path, tmp_path: Path) -> None:
    kernels = {}
    for name, text in (("with", b"\0MPI_Init\0MPI_Comm_rank\0"), ("without", b"\0no\0")):
        path = tmp_path / f"{name}.so"
        path.write_bytes(b"\x7fELF" + text)
        kernels[name] = Plumed(path, "hand")
    both = planned(clean, plumed=METAD, walkers=2)
    check(both, clean / "run", plumed=kernels["without"])
    with pytest.raises(InputError, match=r"walkers: 2, but .*with.so was built with MPI; .* set"):
        check(both, clean / "run", plumed=kernels["with"])
    check(planned(clean, plumed=METAD), clean / "run", plumed=kernels["with"])
    check(planned(clean, walkers=2), clean / "run", plumed=kernels["with"])
    with pytest.raises(EngineMissing, match="PLUMED: not found, but plumed: needs it"):
        check(planned(clean, plumed=METAD), clean / "run")


def test_one_walker_is_no_partition(clean: Path) -> None:
    """In one, PLUMED with MPI would add its number to the names of the files that it writes."""
    plan = planned(clean, walkers=1)
    assert "-partition" not in deck.main(plan, {"walker-0": 0})
    engines = fake_engines.engines(clean)
    jobs = [starts.job(planned(clean, walkers=n), clean / "run", engines) for n in (1, 2)]
    one, two = (" ".join(job.argv) for job in jobs)
    assert one == "lmp -in production.lmp -log none -screen none"
    assert two.startswith("lmp -partition 2x1 -in production.lmp ")


def test_too_little_memory_or_disk(clean: Path) -> None:
    plan = planned(clean, supercell=[3, 3, 3], length_ps=1e6, dump_every_steps=1)
    found = replace(needs.estimate(plan), files_GB={"frames": 1e9})
    with pytest.raises(InputError, match=r"the run would write .* GB, and .* are free; increase"):
        needs.check(plan, found, clean / "run", Room())
    memory.check(plan.settings, 216, 63.0, 64.0)
    with pytest.raises(InputError, match=r"216 atoms need about 65 GB .* 64.0 are free; use a sma"):
        memory.check(plan.settings, 216, 65.0, 64.0)
    memory.check(plan.settings, 216, 65.0, None)  # not known
    assert (Room.here(2).memory_GB or 0.0) > 0.1
    memory.check(plan.settings, 10_000_000, None, 11.0)
    with pytest.raises(InputError, match=r"10000000 atoms need about 10 GB of memory"):
        memory.check(plan.settings, 10_000_000, None, 9.0)  # to make them here


def test_a_model_that_does_not_run_here(clean: Path) -> None:
    planned(clean)
    asked, file = settings.read(clean / "p.yaml"), clean / "p.yaml"
    fast = clean / "a/run/models/final/aotinductor-cpu/model.nequip.pt2"
    elsewhere = replace(MACHINE, versions={**MACHINE.versions, "torch": "1.0"})
    assert make(asked, file, elsewhere).model.file.name == "model.nequip.pth"
    only = clean / "only"
    only.mkdir()
    shutil.copy(fast, only)
    shutil.copy(fast.with_name("stamp.json"), only / "model.nequip.pt2.json")
    asked = asked.model_copy(update={"campaign": "only"})
    with pytest.raises(InputError, match=r"this machine has 1.0; make one for it: phasewalk dep"):
        make(asked, file, elsewhere)
    shutil.rmtree(only)


def test_memory_grows_with_edges_channels_and_ranks(clean: Path) -> None:
    plan = planned(clean)
    cell, fast = plan.cell, plan.model.stamp
    slow = replace(fast, mode="torchscript")

    def of(copies: int, stamp: Deployed, **changes: int) -> float:
        asked = {"channels": 48, "ranks": 1, **changes}
        return memory.of_walker(cell, copies, stamp, **asked)

    one, ten = of(1, fast), of(10, fast)
    pairs = 8 * 18  # in rock salt, within 4 Å: six at 2.82, twelve at 3.99
    assert ten - one == 9 * pairs * 48 * 80
    assert of(10, fast, channels=96) - ten == ten - of(0, fast)
    assert of(1, fast, ranks=3) - one == 2 * 150e6
    assert of(10, slow) > 2 * ten  # measured


def test_the_memory_of_a_site(clean: Path) -> None:
    """It is compared with the estimate; this machine must be able to make the cell."""
    file = clean / "p.yaml"
    file.write_text(json.dumps({**BASE, "supercell": [3, 3, 3]}))
    of = "are its memory_GB in the site file"
    plan = make(settings.read(file), file, MACHINE, room=Room(None, 1.0, of))
    assert plan.memory_GB is not None
    assert 0.1 < plan.memory_GB < 1.0
    with pytest.raises(InputError, match=r"216 atoms .* and 0.1 are its memory_GB in the site fi"):
        make(settings.read(file), file, MACHINE, room=Room(None, 0.1, of))
    file.write_text(json.dumps({**BASE, "supercell": [10_000, 1000, 1000]}))
    with pytest.raises(InputError, match=r"atoms need about 8e\+04 GB .* are free; use"):
        make(settings.read(file), file, MACHINE, room=Room(None, 1e9, of))


def test_elements_that_the_model_does_not_know(clean: Path) -> None:
    ase.io.write(clean / "other.extxyz", bulk("KBr", "rocksalt", a=6.6, cubic=True))
    with pytest.raises(InputError, match=r"other.extxyz has Br, K, and the model knows only Cl, N"):
        planned(clean, structure="other.extxyz")


def test_what_is_written_needs_no_space_again(
    clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, folder = planned(clean), tmp_path / "run"
    found = replace(needs.estimate(plan), files_GB={"frames": 1.0})
    free = SimpleNamespace(free=0.2e9)
    monkeypatch.setattr(needs.shutil, "disk_usage", lambda place: free)
    with pytest.raises(InputError, match=r"would write 1.0 GB, and 200.0 MB are free"):
        needs.check(plan, found, folder, Room())
    folder.mkdir()
    with (folder / "walker-0.dump").open("wb") as stream:
        stream.truncate(int(0.9e9))
    needs.check(plan, found, folder, Room())


def test_a_run_is_stopped_before_the_disk_is_full(
    clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LAMMPS would leave an empty file in place of each restart file."""
    look = Written(planned(clean), clean)
    free = SimpleNamespace(free=1e9)
    monkeypatch.setattr(needs.shutil, "disk_usage", lambda place: free)
    look.check()
    free.free = 1e6
    with pytest.raises(written.Full, match=r"1.0 MB are free, too little to go on; free some"):
        look.check()
    look.check()  # while it stops


def test_a_restart_file_that_stays_torn_ends_the_run(
    clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(written.time, "monotonic", lambda: now[0])
    look, path = Written(planned(clean), clean), clean / "walker-0.restart.b"
    for length in (0, 40, 80):  # it grows
        path.write_bytes(bytes(length))
        look.check()
        now[0] += written.STUCK_S
    look.check()
    now[0] += 1.0
    with pytest.raises(EngineFailed, match=r"restart.b: not written to its end .is there no space"):
        look.check()


def test_a_table_that_does_not_reach_a_restart_file_ends_the_run(clean: Path) -> None:
    plan = planned(clean)
    look = Written(plan, clean)
    restart(clean / "walker-0.restart.a", 1860, len(plan.atoms))
    (clean / "walker-0.thermo").write_text("# step\n0 1\n1800 1\n")
    look.check()
    shutil.copy(clean / "walker-0.restart.a", clean / "walker-0.restart.b")
    look = Written(plan, clean)
    (clean / "walker-0.thermo").write_text("# step\n0 1\n1700 1\n18")
    with pytest.raises(EngineFailed, match=r"walker-0.thermo: it ends before step 1860 .is there"):
        look.check()


def test_what_another_machine_writes_is_seen_late(
    clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system shows a restart file, which was closed, before lines of a table."""
    now = [0.0]
    monkeypatch.setattr(written.time, "monotonic", lambda: now[0])
    plan = planned(clean)
    look, table = Written(plan, clean), clean / "walker-0.thermo"
    for step in range(100, 1000, 100):  # each time the lines up to the restart file before
        restart(clean / "walker-0.restart.a", step, len(plan.atoms))
        table.write_text("".join(f"{row} 1\n" for row in range(0, step - 100, 100)))
        look.check(late_s=90.0)
        now[0] += 60.0
    look.check(late_s=90.0)
    now[0] += 60.0
    with pytest.raises(EngineFailed, match=r"walker-0.thermo: it ends before step [89]00 .is the"):
        look.check(late_s=90.0)


@pytest.mark.parametrize("ranks", [1, 2, 6, 8, 30])
def test_the_grid_of_ranks_has_the_smallest_surface(ranks: int) -> None:
    grid = needs.best_grid(np.array([10.0, 10.0, 40.0]), ranks)
    assert np.prod(grid) == ranks
    assert grid == {1: (1, 1, 1), 2: (1, 1, 2), 6: (1, 1, 6), 8: (1, 1, 8)}.get(ranks, grid)
    assert grid[2] == max(grid)


def begun(plan: Plan, folder: Path) -> None:
    """Begin a run without starting LAMMPS."""
    running._begin(plan, folder)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"generation": 0}, "model: "),
        ({"plumed": METAD.replace("SIGMA=1", "SIGMA=2")}, "plumed: "),
        ({"ensemble": "nvt", "plumed": "d: DISTANCE ATOMS=1,2"}, "ensemble: npt . nvt"),
        ({"structure": "NaCl-0"}, "structure/walker: .absent. . NaCl-0"),
        ({"supercell": [1, 1, 2]}, "structure/supercell: "),
        ({"walkers": 3}, "walkers: 1 . 3"),
        ({"temperature_K": 200}, "temperature_K: 300.0 . 200"),
    ],
)
def test_what_must_not_change(
    clean: Path, tmp_path: Path, change: dict[str, object], named: str
) -> None:
    begun(planned(clean, plumed=METAD), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=named) as caught:
        begun(planned(clean, **{"plumed": METAD, **change}), tmp_path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("without this folder, which has no restart file yet")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_may_change(clean: Path, tmp_path: Path) -> None:
    begun(planned(clean, plumed=METAD), tmp_path)
    begun(planned(clean, plumed=METAD, length_ps=20, restart_every_steps=50), tmp_path)
    found = running.begun_with(tmp_path)
    assert found is not None
    assert found.generation == "final"
    assert running.begun_with(tmp_path / "other") is None


def test_a_run_goes_on_with_the_form_that_it_was_begun_with(clean: Path, tmp_path: Path) -> None:
    """The other, faster one was made after the start."""
    fast, slow = (tmp_path / f"model.nequip.{end}" for end in ("pt2", "pth"))
    for one, mode in ((fast, "aotinductor"), (slow, "torchscript")):
        one.write_bytes(mode.encode())
        stamp = clean / f"a/run/models/final/{mode}-cpu/stamp.json"
        shutil.copy(stamp, tmp_path / f"{one.name}.json")
    ase.io.write(clean / "salt.extxyz", bulk("NaCl", "rocksalt", a=5.64, cubic=True))
    plan = planned(clean, campaign=str(tmp_path), structure="salt.extxyz")
    assert plan.model.file == fast
    for begun, used in ((file_hash(slow), slow), (file_hash(fast), fast), ("0" * 64, fast)):
        started = Begun("", {"model": begun}, "")
        again = make(plan.settings, plan.path, MACHINE, begun=started)
        assert again.model.file == used  # if it is another one, the run is refused


def test_a_changed_model_or_start_structure_in_the_folder(clean: Path, tmp_path: Path) -> None:
    plan = planned(clean)
    begun(plan, tmp_path)
    (tmp_path / "model.nequip.pt2").write_bytes(b"other")
    with pytest.raises(InputError, match="not a copy of"):
        begun(plan, tmp_path)
    (tmp_path / "model.nequip.pt2").unlink()
    (tmp_path / "start.data").write_text("other")
    with pytest.raises(InputError, match="changed since the run began"):
        begun(plan, tmp_path)


def test_lammps_that_still_runs_there(clean: Path, tmp_path: Path) -> None:
    """It would go on to write into files that are cut."""
    words = [sys.executable, "-c", "input()", "-in", deck.MAIN]
    with subprocess.Popen(words, cwd=tmp_path, stdin=subprocess.PIPE) as process:
        until = time.monotonic() + 60
        while time.monotonic() < until and deck.MAIN not in _words(process.pid):
            time.sleep(0.01)
        with pytest.raises(StoreError, match=f"process {process.pid} still runs there; wait"):
            running._check_alone(tmp_path)
        running._check_alone(clean)
        process.communicate(b"\n")
    running._check_alone(tmp_path)


def test_the_error_is_that_of_the_last_start(clean: Path, tmp_path: Path) -> None:
    plan, log = planned(clean), tmp_path / "walker-0.log"
    job = Job("production", ("lmp",), tmp_path)
    ended = Finished(job, 137, 1.0, "here")
    log.write_text("ERROR: of the start before\n")
    with pytest.raises(EngineFailed, match=r"walker-0: ERROR: of the start before \(the log"):
        starts.check_ended(plan, tmp_path, ended, {"walker-0": 0})
    before = {"walker-0": log.stat().st_size}
    with pytest.raises(EngineFailed, match=r"ended with code 137 .*; the same command goes on"):
        starts.check_ended(plan, tmp_path, ended, before)
    with log.open("a") as stream:
        stream.write("ERROR: of this one\n")
    with pytest.raises(EngineFailed, match=r"walker-0: ERROR: of this one \(the log"):
        starts.check_ended(plan, tmp_path, ended, before)


def _words(number: int) -> str:
    return Path(f"/proc/{number}/cmdline").read_text()


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="not empty, and not of a production run: it has no"):
        running._check_folder(tmp_path)


def test_a_shorter_length_does_not_take_a_walker_back(clean: Path) -> None:
    """The others may have steps to do."""
    deck_of = deck.texts(planned(clean, walkers=2, length_ps=0.5), "walker-1", step=1200)
    assert "run 1200 upto\n" in deck_of["walker-1.continue.lmp"]
    assert "run 1000 upto\n" in deck_of["walker-1.lmp"]
