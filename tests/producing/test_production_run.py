"""`phasewalk produce` with real engines: killed and continued, nothing is lost or doubled."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import ase.io
import numpy as np
import pytest

from helpers.campaigns import PHASEWALK, TinyCampaign
from helpers.produced import (
    DUMPED,
    FS,
    LENGTH,
    PACE,
    PRINTED,
    RESTARTS,
    SETTINGS,
    STEPS,
    TABLE,
    Run,
    assert_continuous,
    kill,
    rows,
)
from phasewalk.bias.dumps import read_colvar
from phasewalk.engines import plugin
from phasewalk.engines.discovery import EngineSettings, find

pytestmark = [
    pytest.mark.engine("lammps", "plumed", "plugin", "nequip", "tblite"),
    pytest.mark.timeout(900),
]


def check_continuous(run: Run, hills: dict[str, str]) -> None:
    """All that a walker wrote, from its first to its last step: each entry once."""
    every = {"thermo": TABLE, "dump": DUMPED, "colvar": PRINTED, "hills": PACE}
    for walker, name in hills.items():
        assert_continuous(run.root, walker, name, steps=STEPS, every=every)
        read = ase.io.read(run.root / f"{walker}.dump", index=":", format="lammps-dump-text")
        assert {len(atoms) for atoms in read} == {16}
        assert read[0].get_chemical_formula() == "Cl8Na8"


def test_killed_three_times_no_hill_is_lost_or_doubled(
    learned: TinyCampaign, tmp_path: Path
) -> None:
    run = Run(learned, tmp_path, "walkers: 2\n")
    names = {"walker-0": "metad.hills.0", "walker-1": "metad.hills.1"}
    first = run.start()  # killed at the moment of a hill
    run.until(first, lambda: run.step() > RESTARTS)
    count = run.hills("metad.hills.0")
    run.until(first, lambda: run.hills("metad.hills.0") > count)
    kill(first)
    second = run.start()  # killed between two restart files
    run.until(second, lambda: run.step() > 5 * RESTARTS)
    run.until(second, lambda: run.step() % RESTARTS == RESTARTS // 3 // TABLE * TABLE)
    kill(second)
    third = run.start()  # stopped softly, anywhere
    run.until(third, lambda: run.step() > 10 * RESTARTS)
    assert "in use by another run" in run.refused()
    third.send_signal(signal.SIGTERM)
    said, _ = third.communicate(timeout=120)
    assert third.returncode == 130, said
    assert "Continue with: phasewalk produce p.yaml" in said
    assert (run.root / "walker-1.restart.end").exists()
    reached = run.step()
    said = run.to_end()
    assert int(said.split("walker-0 goes on at step ")[1].split()[0]) >= reached
    assert f"walker-1: {STEPS} of {STEPS} steps" in said
    check_continuous(run, names)
    assert run.to_end().count(f"{STEPS} of {STEPS} steps") == 2  # nothing is left to do
    check_continuous(run, names)
    (run.root / "walker-1.restart.end").unlink()  # only one of the walkers has steps to do
    assert f"walker-1 goes on at step {STEPS // RESTARTS * RESTARTS}" in run.to_end()
    check_continuous(run, names)
    run.write(SETTINGS.replace("SIGMA=0.002", "SIGMA=0.003") + "walkers: 2\n")
    assert "this run was begun with other settings or another model (plumed: " in run.refused()
    check_continuous(run, names)


def test_two_ranks_stopped_by_a_file_and_continued_on_one(
    learned: TinyCampaign, tmp_path: Path
) -> None:
    """The cell of two ranks has the energy and the pressure of one rank's."""
    two = Run(learned, tmp_path / "two", "ranks: 2\n")
    checkpoint = two.folder / "run/models/gen-001/checkpoint.ckpt"
    assert f"{checkpoint} --mode torchscript --target ranks -o {two.folder}/" in two.refused()
    words = f"deploy {checkpoint} --mode torchscript --target ranks -o model.exchange.nequip.pth"
    subprocess.run([*PHASEWALK, *words.split()], cwd=two.folder, check=True, timeout=300)
    process = two.start()
    two.until(process, lambda: two.step() > RESTARTS)
    (two.root / "production.stop").touch()
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 130, said
    two.write(SETTINGS)
    assert "walker-0 goes on at step" in two.to_end()
    check_continuous(two, {"walker-0": "walker-0.metad.hills"})
    one = Run(learned, tmp_path / "one")
    one.write(SETTINGS.replace(LENGTH, "length_ps: 0.01"))
    one.to_end()
    rows = [np.loadtxt(each.root / "walker-0.thermo")[0] for each in (two, one)]
    assert rows[0] == pytest.approx(rows[1], rel=1e-5, abs=1e-4)


def test_opes_goes_on_from_its_kernels(learned: TinyCampaign, tmp_path: Path) -> None:
    run = Run(learned, tmp_path)
    metad = f"metad: METAD ARG=vol SIGMA=0.002 HEIGHT=0.05 PACE={PACE}"
    opes = f"metad: OPES_METAD ARG=vol SIGMA=0.002 BARRIER=5 PACE={PACE}"
    assert metad in SETTINGS
    run.write(SETTINGS.replace(metad, opes).replace(LENGTH, "length_ps: 0.3"))
    process = run.start()
    run.until(process, lambda: run.step() > 2 * RESTARTS)
    kill(process)
    before = read_colvar(run.root / "walker-0.colvar").values
    run.to_end()
    after = read_colvar(run.root / "walker-0.colvar").values
    assert np.rint(after[:, 0] * 1000 / FS).tolist() == list(range(0, 601, PRINTED))
    last = 2 * RESTARTS // PRINTED  # row of the step at which it goes on, with its kernel
    assert after[:last] == pytest.approx(before[:last], abs=2e-6)  # as many digits are printed
    kernels = rows(run.root / "walker-0.out.metad.kernels", 1000 / FS)
    assert kernels == list(range(PACE, 601, PACE))


def test_an_error_of_lammps_is_one_line_with_the_log(learned: TinyCampaign, tmp_path: Path) -> None:
    run = Run(learned, tmp_path)
    run.write(SETTINGS.replace("PACE=14", "PACE=14 NOSUCH=3"))
    process = run.start()
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 1
    last = said.splitlines()[-1]
    assert "cannot understand the following words from the input line : NOSUCH" in last
    assert f"the log is {run.root}/walker-0.log" in last
    run.write(SETTINGS)
    assert "(plumed: " in run.refused()


def test_the_decks_run_by_hand(learned: TinyCampaign, tmp_path: Path) -> None:
    """Without phasewalk: the same beginning, a soft stop, and on from there, as the docs say."""
    run = Run(learned, tmp_path)
    run.write(SETTINGS.replace(LENGTH, "length_ps: 0.05"))
    run.to_end()
    engines = find(EngineSettings(), os.environ)
    library = plugin.cached(engines, os.environ)
    assert library is not None
    hand = tmp_path / "hand"
    hand.mkdir()
    decks = ("production.lmp", "walker-0.lmp", "walker-0.continue.lmp", "walker-0.plumed")
    for name in (*decks, "start.data", "model.nequip.pth"):
        shutil.copy(run.root / name, hand)
    table, hills, stop = (
        hand / name for name in ("walker-0.thermo", "walker-0.metad.hills", "production.stop")
    )

    def lammps(deck: str) -> list[str]:
        """Rows of the table."""
        subprocess.run(
            [str(engines.lmp), "-in", deck, "-log", "none", "-screen", "none"],
            cwd=hand,
            env={**os.environ, **engines.env, "LAMMPS_PLUGIN_PATH": str(library.parent)},
            check=True,
            timeout=120,
        )
        return table.read_text().splitlines()[1:]

    hills.touch()
    expected = (run.root / "walker-0.thermo").read_text().splitlines()[1:]
    assert lammps("walker-0.lmp") == expected
    table.unlink()
    hills.write_text("")
    stop.touch()
    assert lammps("production.lmp") == expected[:2]
    stop.unlink()
    shutil.copy(hand / "walker-0.restart.end", hand / "walker-0.restart")
    text = (hand / "production.lmp").read_text()
    (hand / "production.lmp").write_text(text.replace("walker-0", "walker-0.continue"))
    lammps("production.lmp")
    assert rows(table) == [0, 10, *range(10, 101, TABLE)]
    assert [n * PACE for n in range(1, 8)] == rows(hills, 1000 / FS)
