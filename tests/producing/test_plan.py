"""What a production run is made from, and what is refused before anything starts.

Golden decks change on purpose with `PHASEWALK_GOLDEN=write pytest tests/producing/test_plan.py`.
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from helpers import fake_campaign
from helpers.fake_campaign import FakeCampaign
from helpers.fake_engines import FakeEngines
from phasewalk.engines import here
from phasewalk.errors import InputError, StoreError
from phasewalk.models import name_for_ranks
from phasewalk.producing import deck, needs, running, settings
from phasewalk.producing.plan import Plan, make
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
    return make(settings.read(file), file, MACHINE)


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
        ({"ranks": 2}, "checkpoint.ckpt --mode torchscript --target ranks"),
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
    for step, restart in ((0, "NO"), (49, "NO"), (50, "YES")):
        ours = deck.texts(plan, "walker-0", step=step)["walker-0.plumed"]
        words = f"FILE=walker-0.out.o.kernels RESTART={restart} ARG=v SIGMA=1 BARRIER=5 PACE=50"
        assert " ".join(ours.split()).count(words) == 1
        assert ours.count("FILE") == 1
    kernels = deck.series(plan, "walker-0")[-1]
    assert (kernels.name, kernels.every, kernels.first) == ("walker-0.out.o.kernels", 50, 50)
    assert "kernels" in needs.estimate(plan).files_GB


def test_what_it_will_write(clean: Path) -> None:
    plan = planned(clean, plumed=METAD, dump_every_steps=10, supercell=[2, 2, 2])
    found = needs.estimate(plan)
    assert (found.atoms, found.steps, found.frames) == (64, 20000, 2000)
    assert set(found.files_GB) == {"frames", "restart files", "thermo", "colvar", "hills"}
    text = "\n".join(found.lines())
    assert "64 atoms, 20000 steps, about " in text


REFUSED = {
    "campaign": ({"campaign": "b"}, "neither a campaign directory nor a folder of phasewalk"),
    "generation": ({"generation": 7}, "generation 7: not found"),
    "structure": ({"structure": "KCl"}, "KCl: no such file, system or walker .the campaign has"),
    "cells": ({"supercell": [2, 2]}, "supercell: .*three integers, or three lists"),
    "float": ({"supercell": [2, 2, 2.5]}, "supercell: .*three integers, or three lists"),
    "flat": ({"supercell": [[1, 0, 0], [0, 1, 0], [1, 1, 0]]}, "its determinant must be 1"),
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


def exchange(place: Path, checkpoint: str | None = None) -> None:
    """A file for several ranks beside the production file."""
    model = place / "a/run/models/final/aotinductor-cpu"
    stamp = json.loads((model / "stamp.json").read_text())
    made = {**stamp, "checkpoint": checkpoint or stamp["checkpoint"]}
    (place / "model.exchange.nequip.pt2").write_bytes(b"a model")
    (place / "model.exchange.nequip.pt2.json").write_text(json.dumps(made))


def test_a_file_for_several_ranks_must_be_of_the_same_model(clean: Path) -> None:
    exchange(clean)
    plan = planned(clean, ranks=2)
    assert plan.model.exchange == clean / "model.exchange.nequip.pt2"
    assert name_for_ranks(deck.model_name(plan)) == "model.exchange.nequip.pt2"
    exchange(clean, "0" * 64)
    with pytest.raises(InputError, match="made from another checkpoint"):
        planned(clean, ranks=2)


def test_more_ranks_than_make_sense(clean: Path) -> None:
    exchange(clean)
    plan = planned(clean, ranks=64, supercell=[2, 2, 2])  # 11.3 Å, cutoff 4 Å
    with pytest.raises(InputError, match=r"4 × 4 × 4 parts, thinner .* 4 Å; use at most 8"):
        needs.check(plan, needs.estimate(plan), clean / "run", needs.Room())
    plan = planned(clean, ranks=8, supercell=[2, 2, 2])
    needs.check(plan, needs.estimate(plan), clean / "run", needs.Room())
    with pytest.raises(InputError, match=r"1 × 8 ranks on 2 cores .* use at most 2"):
        needs.check(plan, needs.estimate(plan), clean / "run", needs.Room(2))


def test_too_little_memory_or_disk(clean: Path) -> None:
    plan = planned(clean, supercell=[3, 3, 3], length_ps=1e6, dump_every_steps=1)
    found = needs.estimate(plan)
    with pytest.raises(InputError, match=r"the run would write .* GB, and .* are free; increase"):
        needs.check(plan, replace(found, files_GB={"frames": 1e9}), clean / "run", needs.Room())
    with pytest.raises(InputError, match=r"216 atoms need about 1000000.0 GB of .* are free; use"):
        needs.check(plan, replace(found, memory_GB=1e6), clean / "run", needs.Room.here(2))
    there = needs.Room(None, 64.0, "are its memory_GB in the site file")
    with pytest.raises(InputError, match=r"and 64.0 are its memory_GB in the site file; use a"):
        needs.check(plan, replace(found, memory_GB=65.0), clean / "run", there)


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


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="not empty, and not of a production run"):
        running._check_folder(tmp_path)


def test_a_shorter_length_does_not_take_a_walker_back(clean: Path) -> None:
    """The others may have steps to do."""
    deck_of = deck.texts(planned(clean, walkers=2, length_ps=0.5), "walker-1", step=1200)
    assert "run 1200 upto\n" in deck_of["walker-1.continue.lmp"]
    assert "run 1000 upto\n" in deck_of["walker-1.lmp"]
