"""Cutting what was written after a restart file, and files that do not fit to one."""

import random
from pathlib import Path

import pytest

from helpers.cases import cases
from helpers.productions import ARGON, restart
from phasewalk.errors import InputError, ParseError
from phasewalk.producing import outputs
from phasewalk.producing.deck import Series
from phasewalk.producing.outputs import MARK, WRITTEN, last_step, restart_step, resume

EVERY, ATOMS, NAME = 100, 32, "walker-0"
TABLE = Series(f"{NAME}.thermo", 10)
FRAMES = Series(f"{NAME}.dump", 20, frames=True)
COLVAR = Series(f"{NAME}.colvar", 5, per_step=0.5)
HILLS = Series(f"{NAME}.metad.hills", 7, first=7, again=False, per_step=0.5)
FILES = [TABLE, FRAMES, COLVAR, HILLS]


def entry(series: Series, step: int) -> str:
    if series.frames:
        return (
            f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n1\nITEM: BOX BOUNDS pp pp pp\n"
            "0 9\n0 9\n0 9\nITEM: ATOMS id type element x y z ix iy iz\n1 1 Ar 0 0 0 0 0 0\n"
        )
    return f" {step * series.per_step:f} 1.5\n" if series.per_step != 1.0 else f"{step} 7\n"


def write(folder: Path, series: Series, last: int, head: str = "#! FIELDS time x\n") -> None:
    """A file up to a step, as an uninterrupted run writes it."""
    steps = range(series.first, last + 1, series.every)
    text = "" if series.frames else head
    (folder / series.name).write_text(text + "".join(entry(series, step) for step in steps))


def written(folder: Path, series: Series) -> list[int]:
    text = (folder / series.name).read_text()
    if series.frames:
        return [int(part.split()[0]) for part in text.split("ITEM: TIMESTEP\n")[1:]]
    rows = [line for line in text.splitlines() if not line.startswith("#")]
    return [round(float(row.split()[0]) / series.per_step) for row in rows]


def write_deck(folder: Path) -> None:
    line = f"restart {EVERY} {NAME}.restart.a {NAME}.restart.b"
    (folder / f"{NAME}.lmp").write_text(f"thermo 10\n{line}\nrun 1000 upto\n")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Killed at step 357, with restart files of steps 200 and 300."""
    for series in FILES:
        write(tmp_path, series, 357)
    restart(tmp_path / f"{NAME}.restart.a", 300)
    restart(tmp_path / f"{NAME}.restart.b", 200)
    write_deck(tmp_path)
    return tmp_path


def test_the_step_of_a_recorded_restart_file() -> None:
    assert restart_step(ARGON, ATOMS) == 1860


def test_it_goes_on_from_the_last_restart_file(run: Path) -> None:
    assert resume(run, NAME, FILES, atoms=ATOMS) == 300
    assert written(run, TABLE) == list(range(0, 300, 10))  # 300 is written again
    assert written(run, COLVAR) == list(range(0, 300, 5))
    assert written(run, FRAMES) == list(range(0, 300, 20))
    assert written(run, HILLS) == list(range(7, 301, 7))  # no hill is deposited again
    assert restart_step(run / f"{NAME}.restart", ATOMS) == 300
    assert [name for name in WRITTEN if (run / f"{NAME}.{name}").exists()] == ["restart"]
    before = {path: path.read_bytes() for path in run.iterdir()}
    assert resume(run, NAME, FILES, atoms=ATOMS) == 300  # killed before LAMMPS had started
    assert {path: path.read_bytes() for path in run.iterdir()} == before


def test_a_hill_of_the_step_itself_stays(tmp_path: Path) -> None:
    write(tmp_path, HILLS, 399)
    restart(tmp_path / f"{NAME}.restart.end", 350)
    resume(tmp_path, NAME, [HILLS], atoms=ATOMS)
    assert written(tmp_path, HILLS)[-1] == 350


@pytest.mark.parametrize("size", [0, 10, 16, 40, 700, 3981])
def test_a_restart_file_without_its_end_does_not_count(run: Path, size: int) -> None:
    path = run / f"{NAME}.restart.a"
    path.write_bytes(path.read_bytes()[:size])
    assert restart_step(path, ATOMS) is None
    assert last_step(run, NAME, ATOMS) == 200
    assert resume(run, NAME, FILES, atoms=ATOMS) == 200
    assert written(run, HILLS) == list(range(7, 201, 7))


def test_no_restart_file_is_complete(run: Path) -> None:
    for ending in ("restart.a", "restart.b"):
        (run / f"{NAME}.{ending}").write_bytes(MARK)
    with pytest.raises(InputError, match=r"100, but has no complete .*restart.a, 16 bytes"):
        resume(run, NAME, FILES, atoms=ATOMS)
    assert written(run, TABLE)[-1] == 350


def test_a_restart_file_of_other_units(run: Path) -> None:
    path = run / f"{NAME}.restart.a"
    path.write_bytes(path.read_bytes().replace(b"metal\0", b"realx\0"))
    with pytest.raises(ParseError, match="unknown format"):
        resume(run, NAME, FILES, atoms=ATOMS)


def test_killed_before_the_first_restart_file(tmp_path: Path) -> None:
    for series in FILES:
        write(tmp_path, series, 57)
    write_deck(tmp_path)
    assert resume(tmp_path, NAME, FILES, atoms=ATOMS) == 0
    assert all((tmp_path / one.name).read_bytes() == b"" for one in FILES)


def test_killed_while_the_first_restart_file_was_written(tmp_path: Path) -> None:
    write_deck(tmp_path)
    for series in FILES:
        write(tmp_path, series, EVERY)
    path = tmp_path / f"{NAME}.restart.a"
    restart(path, EVERY)
    path.write_bytes(path.read_bytes()[:-1])
    assert resume(tmp_path, NAME, FILES, atoms=ATOMS) == 0
    assert not path.exists()
    assert all((tmp_path / one.name).read_bytes() == b"" for one in FILES)


def test_restart_files_that_are_gone_are_not_a_beginning(run: Path) -> None:
    for ending in ("restart.a", "restart.b"):
        (run / f"{NAME}.{ending}").unlink()
    with pytest.raises(
        InputError, match="has run beyond step 100, but has no complete restart file;"
    ):
        resume(run, NAME, FILES, atoms=ATOMS)
    assert written(run, TABLE)[-1] == 350


@pytest.mark.parametrize("series", FILES, ids=lambda one: one.name)
def test_a_missing_file_is_named(run: Path, series: Series) -> None:
    (run / series.name).unlink()
    with pytest.raises(ParseError, match=f"{series.name}: missing, but the restart file is at"):
        resume(run, NAME, FILES, atoms=ATOMS)
    assert all(written(run, one) for one in FILES if one is not series)  # nothing was cut


@pytest.mark.parametrize("series", FILES, ids=lambda one: one.name)
def test_a_file_that_ends_too_early_takes_the_restart_file_before(
    run: Path, series: Series
) -> None:
    write(run, series, 262)
    assert resume(run, NAME, FILES, atoms=ATOMS) == 200
    assert restart_step(run / f"{NAME}.restart", ATOMS) == 200
    write(run, series, 150)
    with pytest.raises(ParseError, match=f"{series.name}"):
        resume(run, NAME, FILES, atoms=ATOMS)


@pytest.mark.parametrize("series", [TABLE, COLVAR, HILLS], ids=lambda one: one.name)
@pytest.mark.parametrize("change", ["lost", "doubled", "damaged"])
def test_a_table_with_a_gap_or_a_row_twice_is_refused(
    run: Path, series: Series, change: str
) -> None:
    path = run / series.name
    lines = path.read_text().splitlines(keepends=True)
    new = {"lost": [], "doubled": [lines[9], lines[9]], "damaged": ["not a number\n"]}[change]
    path.write_text("".join([*lines[:9], *new, *lines[10:]]))
    with pytest.raises(ParseError, match=series.name):
        resume(run, NAME, FILES, atoms=ATOMS)


def test_headers_of_earlier_starts_stay_in_place(run: Path) -> None:
    path = run / COLVAR.name
    rows = [entry(COLVAR, step) for step in range(0, 358, 5)]
    head = "#! FIELDS time x\n"
    path.write_text("".join([head, *rows[:40], head, *rows[40:60], head, *rows[60:]]))
    resume(run, NAME, FILES, atoms=ATOMS)
    assert path.read_text() == "".join([head, *rows[:40], head, *rows[40:60]])


def test_any_cut_in_the_middle_is_continuous_or_refused(tmp_path: Path) -> None:
    """Each file loses any number of its last bytes, as a machine that lost its power leaves it."""
    chance = random.Random(5)
    for number in range(cases(30, 300)):
        folder = tmp_path / str(number)
        folder.mkdir()
        for series in FILES:
            write(folder, series, 357)
            content = (folder / series.name).read_bytes()
            kept = len(content) - chance.choice([0, chance.randrange(len(content))])
            (folder / series.name).write_bytes(content[:kept])
        for ending, step in (("restart.a", 300), ("restart.b", 200)):
            restart(folder / f"{NAME}.{ending}", step)
        try:
            step = resume(folder, NAME, FILES, atoms=ATOMS)
        except InputError:
            continue
        for series in FILES:
            assert written(folder, series) == list(series.steps(step))


def test_a_frame_that_is_not_whole_is_cut(run: Path) -> None:
    path = run / FRAMES.name
    text = path.read_text()
    path.write_text(text[: text.index("ITEM: TIMESTEP\n280")] + entry(FRAMES, 280)[:-8])
    assert resume(run, NAME, FILES, atoms=ATOMS) == 200
    assert outputs.restart_step(run / f"{NAME}.restart", ATOMS) == 200


def test_a_mark_that_was_cut_off_is_not_a_frame(run: Path) -> None:
    """A kill while the first words of the next frame were written."""
    path = run / FRAMES.name
    text = path.read_text()
    path.write_text(text[: text.index("ITEM: TIMESTEP\n300")] + "ITEM: TIME")
    assert resume(run, NAME, FILES, atoms=ATOMS) == 300
    assert path.read_text() == text[: text.index("ITEM: TIMESTEP\n300")]


def test_a_restart_file_of_another_run_is_named_before_anything_is_cut(run: Path) -> None:
    restart(run / f"{NAME}.restart.end", 340, atoms=64)
    before = {path: path.read_bytes() for path in run.iterdir()}
    for look in (
        lambda: resume(run, NAME, FILES, atoms=ATOMS),
        lambda: last_step(run, NAME, ATOMS),
    ):
        with pytest.raises(ParseError, match=r"another run: it has 64 atoms, .* 32; remove it"):
            look()
    assert {path: path.read_bytes() for path in run.iterdir()} == before


CELL = (7.785847840971497, 13.177838549188419, 12.843341752798164)
TILTS = (-0.8876774634678312, 0.6745491735747735, -4.502751378085117)


@pytest.mark.parametrize("wrong", [None, *range(6)])
def test_the_cell_of_a_restart_file_is_that_of_the_table(run: Path, wrong: int | None) -> None:
    """Of another walker, whose steps and number of atoms are the same."""
    cell = [*CELL, *TILTS]
    if wrong is not None:
        cell[wrong] += 1e-3
    path = run / TABLE.name
    shown = " ".join(f"{value:.12g}" for value in cell)
    text = path.read_text().replace("\n300 7\n", f"\n300 1 2 3 4 5 {shown}\n")
    path.write_text(text)
    if wrong is None:
        assert resume(run, NAME, FILES, atoms=ATOMS) == 300
        return
    with pytest.raises(ParseError, match=r"restart.a: the restart file of another run: its cell"):
        resume(run, NAME, FILES, atoms=ATOMS)
    assert path.read_text() == text
    path.write_text(text[: text.index(f" {shown}") + 20])  # the row that a kill has cut
    assert resume(run, NAME, FILES, atoms=ATOMS) == 300


@pytest.mark.parametrize("series", FILES, ids=lambda one: one.name)
def test_an_empty_file_is_a_gap(run: Path, series: Series) -> None:
    (run / series.name).write_bytes(b"")
    with pytest.raises(ParseError, match=f"{series.name}: it (is empty|ends before step)"):
        resume(run, NAME, FILES, atoms=ATOMS)


def ended(folder: Path, last: int = 300) -> None:
    """A run that has all its steps."""
    for series in FILES:
        write(folder, series, last)
    restart(folder / f"{NAME}.restart.end", last)


@pytest.mark.parametrize("series", FILES, ids=lambda one: one.name)
def test_a_run_has_ended_when_all_files_have_all_steps(tmp_path: Path, series: Series) -> None:
    ended(tmp_path)
    assert outputs.incomplete(tmp_path, NAME, FILES, atoms=ATOMS) is None
    path = tmp_path / series.name
    path.write_bytes(path.read_bytes()[:-1])
    found = outputs.incomplete(tmp_path, NAME, FILES, atoms=ATOMS)
    assert found is not None
    assert series.name in str(found)


@pytest.mark.parametrize("series", [TABLE, COLVAR, HILLS], ids=lambda one: one.name)
def test_a_table_that_is_not_written_any_more(tmp_path: Path, series: Series) -> None:
    """As on a full disk, on which LAMMPS goes on."""
    assert outputs.behind(tmp_path, FILES, 0) is None
    ended(tmp_path)
    assert outputs.behind(tmp_path, FILES, 300) is None
    write(tmp_path, series, 280)
    assert outputs.behind(tmp_path, FILES, 300) == tmp_path / series.name
    (tmp_path / series.name).write_bytes(b"")
    assert outputs.behind(tmp_path, FILES, 300) == tmp_path / series.name
