"""Segments: what is written for LAMMPS, and what is read back, from recorded and from real runs."""

import math
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from helpers import fake_engines, needs
from helpers.outputs import stop_line
from phasewalk.bias import hill_tables, plumed
from phasewalk.bias import hills as bias
from phasewalk.bias.hill_tables import Mark
from phasewalk.bias.sharing import History, HistoryFile
from phasewalk.engines import discovery, plugin
from phasewalk.engines.local import LocalLauncher
from phasewalk.errors import EngineFailed, InputError, Killed
from phasewalk.files import hash_bytes
from phasewalk.jobs import Finished, Job, run
from phasewalk.structures import bonds
from phasewalk.units import BOLTZMANN_KJ_PER_MOL_K
from phasewalk.walkers import division, outcomes, partitions
from phasewalk.walkers.limits import LIMITS, WALLTIME
from phasewalk.walkers.segment import (
    SegmentPlan,
    SegmentResult,
    SegmentSettings,
    SystemSettings,
    Walker,
)

SEGMENT = Path(__file__).parents[1] / "data" / "segment"
PLUMED = (
    "v: VOLUME\nd: DISTANCE ATOMS=1,2\n"
    "METAD ARG=v SIGMA=0.02 HEIGHT=0.5 PACE=30 LABEL=m\nPRINT ARG=* STRIDE=10\n"
)
RECORD = bias.record_from_text((SEGMENT / "hills.tsv").read_text(), path="hills.tsv")
HISTORY = bias.render(RECORD, action="m")
ARGON = bulk("Ar", "fcc", a=5.4) * (2, 2, 2)


@dataclass(frozen=True)
class NoEngines:
    lmp: Path = Path("/opt/lmp")
    mpiexec: tuple[str, ...] = ("mpiexec", "-quiet")
    env: Mapping[str, str] = None  # type: ignore[assignment]


def system(**changes: object) -> SystemSettings:
    values = {"structure": "a.xyz", "walkers": 2, "ensemble": "npt", "temperature_K": 60.0}
    return SystemSettings.model_validate({**values, **changes})


def plan(
    folder: Path,
    *,
    settings: SystemSettings,
    step: int = 0,
    atoms: Atoms = ARGON,
    **changes: object,
) -> SegmentPlan:
    model = folder / "any.nequip.pth"
    model.write_bytes(b"model")
    values = {
        "round": 2,
        "generation": 1,
        "walkers": tuple(Walker(f"ar-{i}", "ar", i, atoms, step) for i in range(2)),
        "systems": {"ar": settings},
        "settings": SegmentSettings(
            steps=110, timestep_fs=2, dump_every_steps=20, thermo_every_steps=20
        ),
        "histories": {},
        "model": model,
        "type_names": ("Ar",),
        "seed": 7,
    }
    return SegmentPlan(**{**values, **changes})  # type: ignore[arg-type]


def history(folder: Path) -> History:
    """The hills of earlier rounds as a file."""
    path = folder / "earlier.hills"
    path.write_text(HISTORY)
    mark = Mark(len(HISTORY), hash_bytes(HISTORY.encode()))
    return History(RECORD.headers, {"m": HistoryFile(path, mark)}, len(RECORD.hills))


def merged(made: SegmentPlan, result: SegmentResult) -> bias.HillsRecord:
    """The record after the segment."""
    laid = outcomes.hill_tables(made, result)["ar"].laid
    return bias.merge(RECORD, laid.hills, headers=laid.headers)


def recorded(folder: Path, **changes: object) -> tuple[Finished, SegmentPlan]:
    """The recorded segment in a directory of its own, as if it had just ended."""
    directory = folder / "segment"
    shutil.copytree(SEGMENT, directory)
    histories = {"ar": history(folder)}
    made = plan(folder, settings=system(plumed=PLUMED), step=110, histories=histories, **changes)
    return Finished(Job("segment", ("lmp",), directory), 0, 1.0), made


@pytest.mark.parametrize("device", ["cpu", "cuda", None])
def test_every_walkers_model_runs_where_it_was_compiled_for(
    tmp_path: Path, device: str | None
) -> None:
    found = partitions.files(plan(tmp_path, settings=system(), device=device))
    line = f"pair_style nequip device {device}\n" if device else "pair_style nequip\n"
    assert all(line in found[f"ar-{i}.lmp"].decode() for i in range(2))


def test_a_walker_on_several_ranks(tmp_path: Path) -> None:
    """LAMMPS finds the model for them beside the other, by its name."""
    engines = fake_engines.engines(tmp_path)
    several = tmp_path / "other.nequip.pth"
    made = plan(tmp_path, settings=system(), ranks=3, for_ranks=several)
    with pytest.raises(InputError, match=r"other\.nequip\.pth: no such file"):
        partitions.files(made)
    several.touch()
    job = partitions.job(made, engines=engines, directory=tmp_path / "segment")
    assert (job.ranks, job.cores) == (6, 6)
    assert job.argv[1:3] == ("-partition", "2x3")
    assert job.links["model.exchange.nequip.pth"] == several
    assert job.links["model.nequip.pth"] == made.model
    one = partitions.job(
        plan(tmp_path, settings=system()), engines=engines, directory=tmp_path / "segment"
    )
    assert list(one.links) == ["model.nequip.pth"]
    assert {k: v for k, v in one.inputs.items() if k != partitions.SEGMENT} == {
        k: v for k, v in job.inputs.items() if k != partitions.SEGMENT
    }


def test_recorded_segment(tmp_path: Path) -> None:
    finished, made = recorded(tmp_path)
    result = outcomes.read(finished, made)
    assert result.ended is None
    for walker in result.walkers:
        assert [frame.step for frame in walker.frames] == [120, 140, 160, 180, 200, 220]
        assert (walker.last_step, walker.steps_done, walker.halted) == (220, 110, None)
        assert [hill.step for hill in walker.new_hills] == [120, 150, 180, 210]
        assert {hill.walker for hill in walker.new_hills} == {walker.id}
        assert [colvar.name for colvar in walker.colvars] == ["v", "d", "m.bias"]
        assert walker.colvars[0].minimum <= walker.colvars[0].last <= walker.colvars[0].maximum
        assert walker.mean_temperature_K == pytest.approx(walker.thermo["Temp"].mean())
    table = outcomes.hill_tables(made, result)["ar"]
    assert (table.earlier, len(table.laid.hills), table.total) == (6, 2 * 4, 6 + 2 * 4)
    assert table.began["m"].size == len(HISTORY)
    assert hill_tables.from_text(hill_tables.to_text(table), path="t") == table


def test_bias_of_the_merged_record_is_what_both_walkers_felt_and_laid(tmp_path: Path) -> None:
    finished, made = recorded(tmp_path)
    both = merged(made, outcomes.read(finished, made))
    at = np.linspace(0.28, 0.42, 15)[:, None]
    one, other = bias.by_walker(both).values()
    total = bias.bias_at(both, at, action="m")
    assert total == pytest.approx(sum(bias.bias_at(part, at, action="m") for part in (one, other)))
    assert total.max() > 1


def test_a_lost_hill_is_found(tmp_path: Path) -> None:
    finished, made = recorded(tmp_path)
    hills = finished.directory / "ar-1.m.hills.1"
    hills.write_text("".join(hills.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(EngineFailed, match=r"ar-1.*found 3 hills, expected 4 for steps 110 to 220"):
        outcomes.read(finished, made)


def test_names_with_a_partition_number(tmp_path: Path) -> None:
    """A PLUMED with MPI appends it to what it writes, unless walkers share hills."""
    finished, made = recorded(tmp_path)
    made = replace(made, histories={})
    (finished.directory / "ar-0.m.hills.1").rename(finished.directory / "ar-0.m.hills.0")
    (finished.directory / "ar-1.colvar").rename(finished.directory / "ar-1.colvar.1")
    result = outcomes.read(finished, made).walkers[1]
    assert [hill.step for hill in result.new_hills] == [120, 150, 180, 210]
    assert len(result.colvars) == 3


def test_a_segment_that_ended_with_an_error_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    finished, made = recorded(tmp_path)
    log = finished.directory / "ar-1.log"
    head = log.read_text().split("Loop time")[0].splitlines(keepends=True)
    assert head[-1].split()[0] == "220"
    log.write_text("".join(head[:-2]) + "ERROR: box went wrong (src/fix.cpp:1)\nLast input line\n")
    dump = finished.directory / "ar-1.dump"
    dump.write_text(dump.read_text()[:-300])
    hills = finished.directory / "ar-1.m.hills.1"
    hills.write_text(hills.read_text()[:-10])
    result = outcomes.read(replace(finished, returncode=1), made)
    assert result.ended == "ar-1: ERROR: box went wrong (src/fix.cpp:1)"
    well, sick = result.walkers
    assert (well.halted, well.steps_done, len(well.new_hills)) == (None, 110, 4)
    assert (sick.halted, sick.steps_done) == (result.ended, 70)
    assert [frame.step for frame in sick.frames][-1] == 200
    assert [hill.step for hill in sick.new_hills] == [120, 150, 180]


def test_a_time_limit_is_told(tmp_path: Path) -> None:
    finished, made = recorded(tmp_path)
    made = replace(made, settings=made.settings.model_copy(update={"timeout_s": 9.0}))
    log = finished.directory / "ar-0.log"
    log.write_text(log.read_text().split("Loop time")[0])
    result = outcomes.read(replace(finished, returncode=None), made)
    assert result.walkers[0].halted == "the segment exceeded its time limit of 9 s"
    assert result.walkers[1].halted is None
    assert not result.walkers[0].broke


def test_what_the_launcher_says_of_an_end_from_outside_comes_first(tmp_path: Path) -> None:
    """It has tried again where that can help, so that the segment is not repeated (Killed)."""
    finished, made = recorded(tmp_path)
    for walker in ("ar-0", "ar-1"):
        cut_off(finished, walker)
    why = "killed for memory: 62 of 64 GB; raise memory_GB of segment in the site file"
    with pytest.raises(EngineFailed, match=f"segment was {why}") as raised:
        outcomes.read(replace(finished, returncode=137, why=why), made)
    assert not isinstance(raised.value, Killed)
    why = "stopped at the time limit of its batch job, 60 min"
    ended = outcomes.read(replace(finished, returncode=None, why=why), made)
    assert ended.walkers[0].halted == f"the segment was {why}"
    assert not ended.walkers[0].broke


def cut_off(finished: Finished, walker: str, line: str = "") -> Path:
    """A log that ends before its run did, with this line."""
    log = finished.directory / f"{walker}.log"
    log.write_text(re.split("Loop time|ERROR", log.read_text())[0] + (f"{line}\n" if line else ""))
    return log


BAD = """
=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES
=   EXIT CODE: {0}
YOUR APPLICATION TERMINATED WITH THE EXIT STRING: {1} (signal {0})
"""


@pytest.mark.parametrize(
    ("code", "printed", "words"),
    [
        (9, BAD.format(9, "Killed"), "killed from outside (signal 9, SIGKILL: out of memory?)"),
        (137, "", "killed from outside (signal 9, SIGKILL: out of memory?)"),
        (-9, "", "killed from outside (signal 9, SIGKILL: out of memory?)"),
        (15, BAD.format(15, "Terminated"), "killed from outside (signal 15, SIGTERM)"),
        (137, "prterun noticed that process rank 1 exited on signal 9 (Killed).\n", "SIGKILL"),
        (139, "", "a rank crashed (signal 11, SIGSEGV) without an error message of LAMMPS"),
        (11, BAD.format(11, "Segmentation fault"), "a rank crashed (signal 11, SIGSEGV)"),
        (1, "srun: error: node fail\n", "exited with code 1, without a message of LAMMPS"),
        (0, "", "exited with code 0, without a message of LAMMPS"),
    ],
)
def test_a_rank_killed_from_outside_is_no_breakdown(
    tmp_path: Path, code: int, printed: str, words: str
) -> None:
    finished, made = recorded(tmp_path)
    for walker in ("ar-0", "ar-1"):
        cut_off(finished, walker)
    (finished.directory / "stdout.txt").write_text(printed)
    with pytest.raises(Killed, match=re.escape(words)):
        outcomes.read(replace(finished, returncode=code), made)


def test_a_rank_killed_before_the_first_step(tmp_path: Path) -> None:
    made = plan(tmp_path, settings=system())
    finished = Finished(Job("segment", ("lmp",), tmp_path), 137, 1.0)
    with pytest.raises(Killed, match="SIGKILL"):
        outcomes.read(finished, made)
    with pytest.raises(
        EngineFailed, match="no walker completed a step: LAMMPS exited with code 127"
    ):
        outcomes.read(replace(finished, returncode=127), made)


@pytest.mark.parametrize(
    "line",
    [
        "ERROR on proc 0: Failed to allocate 8000 bytes for array atom:x (src/memory.cpp:66)",
        stop_line(200, "model", value=None, says="CUDA out of memory. Tried to allocate 2 GiB"),
        "ERROR: Cannot open dump file: No space left on device (src/dump.cpp:1)",
    ],
)
def test_want_of_memory_or_disk_is_no_breakdown(tmp_path: Path, line: str) -> None:
    finished, made = recorded(tmp_path)
    cut_off(finished, "ar-1", line)
    with pytest.raises(Killed, match="ar-1: out of memory or disk space"):
        outcomes.read(replace(finished, returncode=1), made)


def test_the_error_of_one_walker_is_no_breakdown_of_the_others(tmp_path: Path) -> None:
    """All partitions end with it; only that walker's margin is cut and its velocities are drawn."""
    finished, made = recorded(tmp_path)
    cut_off(finished, "ar-0")
    cut_off(finished, "ar-1", "ERROR: Lost atoms: original 32 current 31 (src/thermo.cpp:1)")
    well, sick = outcomes.read(replace(finished, returncode=1), made).walkers
    assert (well.broke, sick.broke) == (False, True)
    assert well.halted == sick.halted == (
        "ar-1: ERROR: Lost atoms: original 32 current 31 (src/thermo.cpp:1)"
    )  # fmt: skip
    cut_off(finished, "ar-1")
    (finished.directory / "stdout.txt").write_text("ERROR: something of all (src/universe.cpp:1)\n")
    assert all(w.broke for w in outcomes.read(replace(finished, returncode=1), made).walkers)


def test_a_soft_stop_is_told_in_words(tmp_path: Path) -> None:
    finished, made = recorded(tmp_path)
    log = finished.directory / "ar-0.log"
    halt = stop_line(220, "force", value=67.1, limit=50) + "\nLoop time"
    log.write_text(log.read_text().replace("Loop time", halt))
    result = outcomes.read(finished, made)
    words = "a force of 67.1 eV/Å (limit 50) at step 220"
    assert (result.walkers[0].halted, result.ended) == (words, None)
    assert [walker.broke for walker in result.walkers] == [True, False]


def test_nothing_done_is_a_failure_with_lammps_own_words(tmp_path: Path) -> None:
    made = plan(tmp_path, settings=system())
    (tmp_path / "ar-1.log").write_text("pair_style nequip\nERROR: Unrecognized pair style\n")
    finished = Finished(Job("segment", ("lmp",), tmp_path), 1, 1.0)
    with pytest.raises(EngineFailed, match="no walker completed a step: ar-1: ERROR: Unrecognized"):
        outcomes.read(finished, made)


def test_a_deck_sets_each_limit(tmp_path: Path) -> None:
    made = plan(tmp_path, settings=system())
    timed = replace(made, settings=made.settings.model_copy(update={"timeout_s": 60.0}))
    keywords = [one.keyword for one in LIMITS]
    assert list(partitions.limits(timed, made.walkers[0])) == keywords
    assert [*partitions.limits(made, made.walkers[0]), WALLTIME] == keywords
    deck = partitions.files(timed)["ar-0.lmp"].decode()
    assert all(f"\n  {keyword} " in deck for keyword in keywords)


def test_job_is_one_launch_of_a_partition_for_each_walker(tmp_path: Path) -> None:
    made = plan(tmp_path, settings=system(plumed=PLUMED), histories={"ar": history(tmp_path)})
    found = partitions.job(made, engines=NoEngines(env={"PLUMED_KERNEL": "k"}), directory=tmp_path)
    assert found.command[:7] == ("mpiexec", "-quiet", "-n", "2", "/opt/lmp", "-partition", "2x1")
    assert found.argv[0] == "/opt/lmp"
    assert (found.cores, found.env["OMP_NUM_THREADS"], found.env["PLUMED_KERNEL"]) == (2, "1", "k")
    assert set(found.inputs) == {
        "segment.lmp",
        *(f"ar-{i}.{end}" for i in range(2) for end in ("lmp", "data", "plumed", "m.hills.1")),
    }
    assert found.inputs == partitions.files(made)
    assert found.inputs["ar-1.m.hills.1"].decode() == bias.header(RECORD, action="m")
    earlier = made.histories["ar"].files["m"].path
    assert found.links == {
        "model.nequip.pth": made.model, "ar-0.m.hills.0": earlier, "ar-1.m.hills.0": earlier,
    }  # fmt: skip
    assert not found.copies


def test_seeds_differ_by_walker_round_and_campaign(tmp_path: Path) -> None:
    made = plan(tmp_path, settings=system())
    lines = set()
    for changed in (made, replace(made, round=3), replace(made, seed=8)):
        for walker in ("ar-0", "ar-1"):
            deck = partitions.files(changed)[f"{walker}.lmp"].decode().splitlines()
            lines |= {line for line in deck if line.startswith(("velocity", "fix thermostat"))}
    assert len(lines) == 3 * 2 * 2


def test_velocities_are_kept_where_there_are_any(tmp_path: Path) -> None:
    moving = ARGON.copy()
    moving.set_velocities(np.full((8, 3), 0.01))
    for atoms, mode, drawn in (
        (ARGON, "keep", True),
        (moving, "keep", False),
        (moving, "draw", True),
    ):
        found = partitions.files(plan(tmp_path, settings=system(velocities=mode), atoms=atoms))
        assert (b"velocity all create" in found["ar-0.lmp"]) is drawn
        assert (b"Velocities" in found["ar-0.data"]) is not drawn


def test_mpi_walkers_do_not_stop_alone_and_append_to_one_copy(tmp_path: Path) -> None:
    histories = {"ar": history(tmp_path)}
    made = plan(tmp_path, settings=system(plumed=PLUMED, bias_sharing="mpi"), histories=histories)
    found = partitions.job(made, engines=NoEngines(env={}), directory=tmp_path)
    assert b"fix runaway" not in found.inputs["ar-0.lmp"]
    assert b"FILE=ar.m.hills RESTART=YES WALKERS_MPI" in found.inputs["ar-1.plumed"]
    assert found.copies == {"ar.m.hills": histories["ar"].files["m"].path}
    assert found.links == {"model.nequip.pth": made.model}


def test_hills_of_mpi_walkers_go_to_those_who_laid_them(tmp_path: Path) -> None:
    finished, made = recorded(tmp_path)
    made = replace(made, systems={"ar": system(plumed=PLUMED, bias_sharing="mpi")})
    texts = [(finished.directory / f"ar-{i}.m.hills.1").read_text() for i in (0, 1)]
    one, other = ([line.rsplit(maxsplit=1)[0] for line in t.splitlines()[-4:]] for t in texts)
    turns = [line for pair in zip(one, other, strict=True) for line in pair]
    text = "\n".join([HISTORY + bias.header(RECORD, action="m").rstrip(), *turns, ""])
    (finished.directory / "ar.m.hills").write_text(text)
    result = outcomes.read(finished, made)
    assert [[h.step for h in w.new_hills] for w in result.walkers] == [[120, 150, 180, 210]] * 2
    assert [h.text for h in result.walkers[1].new_hills] == other
    (finished.directory / "ar.m.hills").write_text(text.replace("0.02", "0.03", 1))
    with pytest.raises(EngineFailed, match=r"of earlier rounds\) have changed"):
        outcomes.read(finished, made)


def test_plans_that_cannot_be(tmp_path: Path) -> None:
    made = plan(tmp_path, settings=system())
    mpi = system(plumed=PLUMED, bias_sharing="mpi")
    stranger = Walker("kr-0", "kr", 0, ARGON, 0)
    for bad, words in (
        (replace(made, walkers=()), "different ids"),
        (replace(made, walkers=made.walkers[:1] * 2), "different ids"),
        (replace(made, walkers=(*made.walkers, stranger)), "unknown system"),
        (
            replace(made, walkers=(*made.walkers, stranger), systems={"ar": mpi, "kr": system()}),
            "supports one system only",
        ),
        (replace(made, type_names=("Kr",)), "no species Ar"),
        (replace(made, model=tmp_path / "x.nequip.pth"), "deployed model"),
        (replace(made, model=tmp_path / "x.pt"), "must end with"),
        (replace(made, walkers=(replace(stranger, id="a b", system="ar"),)), "walkers 'a b'"),
    ):
        with pytest.raises(InputError, match=words):
            partitions.files(bad)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ensemble": "nvt", "pressure_MPa": 1}, "no meaning at constant volume"),
        ({"ensemble": "nvt", "plumed": PLUMED}, "METAD on line 3 biases the cell"),
        ({"plumed": "PBMETAD ARG=v"}, "cannot be continued"),
        ({"plumed": "v: VOLUME {"}, "not closed"),
        ({"temperature_K": 0}, "greater than 0"),
        ({"walkers": 0}, "greater than or equal to 1"),
        ({"thermostat": "berendsen"}, "'langevin', 'csvr' or 'nose-hoover'"),
        ({"walker": 3}, "Extra inputs"),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        system(**changes)


@given(
    arrays(float, 3, elements=st.floats(2, 20)),
    arrays(float, 3, elements=st.floats(-40, 40)),
    st.integers(0, 100),
)
def test_a_reduced_cell_is_the_same_crystal(
    lengths: np.ndarray, tilts: np.ndarray, seed: int
) -> None:
    cell = np.diag(lengths)
    cell[1, 0], cell[2, 0], cell[2, 1] = tilts
    positions = np.random.default_rng(seed).normal(0, 5, (3, 3))
    atoms = Atoms("H3", positions=positions, cell=cell, pbc=True)
    atoms.set_velocities(positions)
    reduced = partitions.reduce_cell(atoms)
    new = reduced.cell.array
    assert not np.triu(new, 1).any()
    assert np.array_equal(np.diag(new), lengths)
    within = 0.5 + 1e-9
    assert abs(new[1, 0]) <= within * new[0, 0]
    assert abs(new[2, 0]) <= within * new[0, 0]
    assert abs(new[2, 1]) <= within * new[1, 1]
    multiples = np.linalg.solve(cell.T, new.T).T
    assert multiples == pytest.approx(np.rint(multiples), abs=1e-6)
    assert np.array_equal(reduced.positions, atoms.positions)
    assert np.array_equal(reduced.get_velocities(), atoms.get_velocities())


def test_a_reduced_cell_has_the_same_neighbours() -> None:
    atoms = ARGON.copy()
    atoms.set_cell([[7.6, 0, 0], [9.0, 6.6, 0], [-11.0, 8.0, 6.2]], scale_atoms=True)
    reduced = partitions.reduce_cell(atoms)
    assert not np.allclose(reduced.cell.array, atoms.cell.array)
    assert reduced.get_all_distances(mic=True) == pytest.approx(atoms.get_all_distances(mic=True))


@pytest.fixture(scope="module")
def real() -> discovery.Engines:
    needs.require("plugin")
    found = discovery.find(discovery.EngineSettings(), os.environ)
    return discovery.with_plugin(found, plugin.cached(found, os.environ) or Path())


def with_argon(job: Job, changes: Mapping[str, tuple[str, str]] | None = None) -> Job:
    """A Lennard-Jones potential in place of the model, and other changes by file name."""
    inputs = {name: content.decode() for name, content in job.inputs.items()}
    for name in [name for name in inputs if name.endswith(".lmp")]:
        inputs[name] = inputs[name].replace("pair_style nequip", "pair_style lj/cut 6.0")
        inputs[name] = inputs[name].replace("model.nequip.pth Ar", "0.0103 3.4")
    for name, (old, new) in (changes or {}).items():
        if old not in inputs[name]:
            raise ValueError(old)
        inputs[name] = inputs[name].replace(old, new)
    return replace(job, inputs={name: text.encode() for name, text in inputs.items()})


@pytest.mark.engine
def test_one_of_two_real_walkers_stops_softly_and_both_go_on(
    tmp_path: Path, real: discovery.Engines
) -> None:
    made = plan(tmp_path, settings=system())
    job = partitions.job(made, engines=real, directory=tmp_path / "1")
    kick = "variable kick equal (step>=35)*60\ngroup one id 1\nfix kick one addforce 0 0 v_kick\n"
    job = with_argon(job, {"ar-1.lmp": ("\nrun 110", f"\n{kick}run 110")})
    finished = run(LocalLauncher(), job)
    first = outcomes.read(finished, made)
    assert (finished.returncode, first.ended) == (0, None)
    well, sick = first.walkers
    assert (well.steps_done, well.halted) == (110, None)
    assert [frame.step for frame in well.frames] == [0, 20, 40, 60, 80, 100, 110]
    assert (sick.steps_done, sick.frames[-1].step) == (35, 35)
    assert sick.stop is not None
    assert sick.stop.step == 35
    assert (sick.stop.reason, sick.stop.limit) == ("temperature", 300.0)
    assert sick.halted == f"a temperature of {sick.stop.value:.0f} K (limit 300) at step 35"

    standing = tuple(
        replace(walker, atoms=partitions.reduce_cell(well.frames[-1].atoms), step=well.last_step)
        for walker in made.walkers
    )
    made = replace(made, round=3, walkers=standing)
    job = with_argon(partitions.job(made, engines=real, directory=tmp_path / "2"))
    second = outcomes.read(run(LocalLauncher(), job), made).walkers[0]
    assert [frame.step for frame in second.frames] == [120, 140, 160, 180, 200, 220]
    # Nothing is lost between segments: same temperature, energy, volume at the same step.
    for column, digits in (("Temp", 1e-9), ("PotEng", 1e-9), ("Volume", 1e-9), ("Press", 1e-7)):
        assert second.thermo[column][0] == pytest.approx(well.thermo[column][-1], rel=digits)


@pytest.mark.engine
@pytest.mark.parametrize("sharing", ["merged", "own"])
def test_launches_of_some_walkers_give_what_one_of_all_gives(
    tmp_path: Path, real: discovery.Engines, sharing: str
) -> None:
    """Bit for bit: frames, hills, variables and logs; also with earlier hills."""
    settings = system(plumed=PLUMED, bias_sharing=sharing, walkers=3)
    walkers = tuple(Walker(f"ar-{i}", "ar", i, ARGON, 110) for i in range(3))
    histories = {"ar": history(tmp_path)} if sharing == "merged" else {}
    made = plan(tmp_path, settings=settings, walkers=walkers, histories=histories)

    def walked(part: SegmentPlan, name: str) -> Finished:
        job = partitions.job(part, engines=real, directory=tmp_path / name)
        return run(LocalLauncher(), with_argon(job)).require_success()

    parts = division.parts(made, 2)
    assert [len(part.walkers) for part in parts] == [2, 1]
    ends = [(walked(part, f"part-{n}"), part) for n, part in enumerate(parts)]
    together, apart = outcomes.read(walked(made, "all"), made), outcomes.read_launches(ends)
    for one, other in zip(together.walkers, apart.walkers, strict=True):
        assert (one.id, one.last_step, one.halted) == (other.id, other.last_step, None)
        assert [frame.step for frame in one.frames] == [120, 140, 160, 180, 200, 220]
        assert [repr(f.atoms.arrays) for f in one.frames] == [
            repr(f.atoms.arrays) for f in other.frames
        ]
        assert one.frames[-1].atoms == other.frames[-1].atoms
        assert len(one.new_hills) == 4
        assert (one.new_hills, one.colvars) == (other.new_hills, other.colvars)
        assert all(np.array_equal(one.thermo[name], other.thermo[name]) for name in one.thermo)
    gathered = {
        name
        for number, (end, part) in enumerate(ends)
        for name in division.files_of(part, 2 * number, end.directory)
    }
    kept = {path.name for path in (tmp_path / "all").iterdir() if "colvar" in path.name}
    assert len(kept) == 3
    assert kept <= gathered


@pytest.mark.engine
def test_walkers_that_wait_for_each_other_stop_together(
    tmp_path: Path, real: discovery.Engines
) -> None:
    made = plan(tmp_path, settings=system(bias_sharing="mpi"))
    job = partitions.job(made, engines=real, directory=tmp_path / "run")
    kick = "variable kick equal (step>=35)*60\ngroup one id 1\nfix kick one addforce 0 0 v_kick\n"
    result = outcomes.read(
        run(LocalLauncher(), with_argon(job, {"ar-1.lmp": ("\nrun 110", f"\n{kick}run 110")})), made
    )
    well, sick = result.walkers
    assert result.ended is None
    assert (well.steps_done, sick.steps_done) == (35, 35)
    assert well.stop is not None
    assert well.stop.reason == "another walker"


@pytest.mark.engine
def test_a_time_limit_ends_a_segment_softly(tmp_path: Path, real: discovery.Engines) -> None:
    made = plan(tmp_path, settings=system(ensemble="nvt"))
    settings = made.settings.model_copy(update={"timeout_s": 2.0, "steps": 10**8})
    made = replace(made, settings=settings)
    job = with_argon(partitions.job(made, engines=real, directory=tmp_path / "run"))
    assert job.timeout_s == 2.0 + partitions.GRACE_S
    finished = run(LocalLauncher(), job)
    result = outcomes.read(finished, made)
    assert (finished.returncode, result.ended) == (0, None)
    for walker in result.walkers:
        assert walker.stop is not None
        assert walker.stop.reason == "walltime"
        assert walker.frames[-1].step == walker.last_step > 0
        assert "the time limit of 2 s" in str(walker.halted)


@pytest.mark.engine
def test_a_walker_that_leaves_its_grid_stops_alone(tmp_path: Path, real: discovery.Engines) -> None:
    """PLUMED throws then; without the sentinel that ends both partitions."""
    for sentinel in (True, False):
        made = plan(tmp_path, settings=system(plumed=PLUMED))
        made = replace(made, settings=made.settings.model_copy(update={"sentinel": sentinel}))
        job = partitions.job(made, engines=real, directory=tmp_path / str(sentinel))
        grid = "SIGMA=0.02 GRID_MIN=0.3148 GRID_MAX=0.3152 GRID_BIN=100"
        job = with_argon(job, {"ar-1.plumed": ("SIGMA=0.02", grid)})
        result = outcomes.read(run(LocalLauncher(), job), made)
        well, sick = result.walkers
        if not sentinel:
            assert "outside the grid" in str(result.ended)
            continue
        assert result.ended is None
        assert (well.steps_done, well.halted) == (110, None)
        assert sick.stop is not None
        assert (sick.stop.reason, sick.stop.says[:35]) == (
            "plumed", "Looking for a value outside the gri"
        )  # fmt: skip
        assert 0 < sick.steps_done < 110
        assert len(sick.new_hills) in (sick.steps_done // 30, (sick.steps_done - 1) // 30)


@pytest.mark.engine
def test_plumeds_own_end_its_files_and_its_temperature(
    tmp_path: Path, real: discovery.Engines
) -> None:
    """One walker reaches COMMITTOR's basin: no breakdown. METAD is well-tempered without TEMP."""
    lines = (f"ATOM  {i:5}  AR  AR  A   1    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  1.00"
             for i, (x, y, z) in enumerate(ARGON.positions[:4], start=1))  # fmt: skip
    text = (
        f"{PLUMED.replace('PACE=30', 'PACE=30 BIASFACTOR=5')}"
        "r: RMSD REFERENCE=ref/a.pdb TYPE=SIMPLE\n"
        "t: TIME\nCOMMITTOR ARG=t STRIDE=10 BASIN_LL1=0.079 BASIN_UL1=9 FILE=basin\n"
        "DUMPATOMS ATOMS=1-4 FILE=four.xyz STRIDE=20\nPRINT_NDX ATOMS=1-4 FILE=i.ndx STRIDE=20\n"
        "PRINT ARG=r STRIDE=10"
    )
    made = plan(
        tmp_path,
        settings=system(plumed=text),
        plumed_files={"ref/a.pdb": "\n".join([*lines, "END\n"]).encode()},
    )
    job = partitions.job(made, engines=real, directory=tmp_path / "run")
    alone = ("BASIN_LL1=0.079", "BASIN_LL1=5.0")
    assert b" TEMP=60 " in job.inputs["ar-0.plumed"]
    untold = (" TEMP=60", "")
    job = with_argon(job, {"ar-0.plumed": alone})
    job = with_argon(job, {"ar-0.plumed": untold})  # fix plumed says the temperature as well
    well, ended = outcomes.read(run(LocalLauncher(), job), made).walkers
    assert (well.steps_done, well.halted) == (110, None)
    assert (ended.steps_done, len(ended.new_hills)) == (40, 1)
    assert ended.halted == "a stop by PLUMED: COMMITTOR reached basin 1 at step 40"
    assert ended.stop is not None
    assert (ended.stop.reason, ended.frames[-1].step) == ("plumed stop", 40)
    assert not ended.broke
    for walker in ("ar-0", "ar-1"):
        for name in ("four.xyz", "i.ndx"):
            assert (tmp_path / f"run/{walker}.out.{name}").stat().st_size
    assert "r" in {one.name for one in well.colvars}  # PLUMED has found its reference
    heights = [float(hill.text.split()[-2]) for hill in well.new_hills]
    # kJ/mol at 60 K, times γ/(γ−1): each is lower by what the ones before it have left there
    assert heights[0] == pytest.approx(0.5 * 5 / 4, rel=1e-9)
    kT = BOLTZMANN_KJ_PER_MOL_K * 60 * 4
    assert heights[1] == pytest.approx(0.625 * math.exp(-0.5 / kT), rel=0.2)


@pytest.mark.engine
@pytest.mark.parametrize("ensemble", ["nvt", "npt"])
@pytest.mark.parametrize("thermostat", ["csvr", "nose-hoover", "langevin"])
def test_every_integrator_runs_and_draws_its_temperature(
    tmp_path: Path, real: discovery.Engines, ensemble: str, thermostat: str
) -> None:
    settings = system(ensemble=ensemble, thermostat=thermostat)
    made = plan(tmp_path, settings=settings)
    made = replace(made, walkers=made.walkers[:1])
    job = with_argon(partitions.job(made, engines=real, directory=tmp_path / "run"))
    (walker,) = outcomes.read(run(LocalLauncher(), job), made).walkers
    assert walker.steps_done == 110
    assert walker.thermo["Temp"][0] == pytest.approx(60, rel=1e-10)
    assert bool(np.ptp(walker.thermo["Volume"]) > 1e-6) == (ensemble == "npt")


@pytest.mark.engine
def test_a_real_error_is_told(tmp_path: Path, real: discovery.Engines) -> None:
    made = plan(tmp_path, settings=system())
    job = partitions.job(made, engines=real, directory=tmp_path / "run")
    wrong = ("lj/cut 6.0", "no/such/style")
    job = with_argon(job, {"ar-0.lmp": wrong, "ar-1.lmp": wrong})
    with pytest.raises(EngineFailed, match="ERROR: Unrecognized pair style 'no/such/style'"):
        outcomes.read(run(LocalLauncher(), job), made)


@pytest.mark.engine
def test_a_real_rank_that_is_killed(tmp_path: Path, real: discovery.Engines) -> None:
    made = plan(tmp_path, settings=system())
    job = partitions.job(made, engines=real, directory=tmp_path / "run")
    killed = '\nrun 40\nshell "kill -9 $PPID"\nrun 70'
    job = with_argon(job, {"ar-1.lmp": ("\nrun 110", killed)})
    with pytest.raises(Killed, match=r"killed from outside \(signal 9, SIGKILL: out of memory\?\)"):
        outcomes.read(run(LocalLauncher(), job), made)


def test_units_of_time_in_the_plumed_text(tmp_path: Path) -> None:
    """The recorded hills' times read as femtoseconds are no steps of this segment."""
    finished, made = recorded(tmp_path)
    made = replace(made, systems={"ar": system(plumed=f"UNITS TIME=fs\n{PLUMED}")})
    with pytest.raises(EngineFailed, match="expected step 120"):
        outcomes.read(finished, made)
    assert plumed.time_unit_ps("UNITS TIME=fs") == 1e-3


def test_a_system_without_history_starts_with_an_empty_record(tmp_path: Path) -> None:
    made = plan(tmp_path, settings=system(plumed=PLUMED))
    assert "ar-0.m.hills" not in partitions.files(made)
    assert b"RESTART=NO" in partitions.files(made)["ar-0.plumed"]


def test_what_plumed_prints_is_written_at_once(tmp_path: Path) -> None:
    """Else its buffer holds what it prints for 10000 steps."""
    text = partitions.files(plan(tmp_path, settings=system(plumed=PLUMED)))["ar-0.plumed"]
    assert text.endswith(b"\nFLUSH STRIDE=20\n")


def guarded(folder: Path, **changes: object) -> SegmentPlan:
    """Two walkers of water, whose bonds are watched."""
    water = molecule("H2O", cell=[9, 9, 9], pbc=True)
    found = bonds.guard(water, break_ratio=1.4, form_ratio=1.2)
    made = plan(folder, settings=system(), atoms=water, type_names=("H", "O"))
    return replace(made, **{"guards": {"ar": found}, **changes})  # type: ignore[arg-type]


def test_a_walker_is_told_of_its_bonds(tmp_path: Path) -> None:
    found = partitions.files(guarded(tmp_path))
    deck = found["ar-1.lmp"].decode()
    assert "\n  bonds ar-1.bonds 1 10 &\n" in deck  # of 2 fs; 20 fs
    lines = found["ar-1.bonds"].decode().splitlines()
    assert [line for line in lines if line[0] == "n"] == ["name 1 H", "name 2 O"]
    limit = 1.4 * molecule("H2O").get_distance(0, 1)
    assert [line for line in lines if line.startswith("bond ")] == [
        f"bond 1 2 0 0 0 {limit:.6g}", f"bond 1 3 0 0 0 {limit:.6g}",
    ]  # fmt: skip
    assert "bonding 1 2 1.164" in lines
    assert "loose 2 3" in lines  # the two hydrogens


@pytest.mark.parametrize(
    "changes", [{"guards": {}}, {"settings": SegmentSettings(sentinel=False)}], ids=["free", "off"]
)
def test_bonds_that_are_free_are_not_watched(tmp_path: Path, changes: dict[str, object]) -> None:
    found = partitions.files(guarded(tmp_path, **changes))
    assert "ar-0.bonds" not in found
    assert "bonds" not in found["ar-0.lmp"].decode()


def test_a_walker_that_lost_a_bond_is_told_in_words(tmp_path: Path) -> None:
    finished, made = recorded(tmp_path)
    log = finished.directory / "ar-0.log"
    halt = stop_line(220, "bond broken", value=2.8123, limit=2.78, good=180, says="Al1–O22")
    log.write_text(log.read_text().replace("Loop time", f"{halt}\nLoop time"))
    walker = outcomes.read(finished, made).walkers[0]
    assert walker.broke
    assert walker.halted == "a broken bond, Al1–O22 of 2.81 Å (limit 2.78 Å) at step 220"
