"""Recorded LAMMPS and PLUMED output → frames and tables; anything else → ParseError."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.cases import cases
from phasewalk.bias import dumps
from phasewalk.errors import ParseError
from phasewalk.units import velocities_to_lammps
from phasewalk.walkers import logs

DATA = Path(__file__).parents[1] / "data"
SEGMENT = DATA / "segment"


def write(folder: Path, text: str) -> Path:
    path = folder / "file"
    path.write_text(text)
    return path


def dump(*rows: str, box: str = "xy xz yz pp pp pp\n0 10 0\n0 10 0\n0 10 0", step: int = 5) -> str:
    lines = [f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(rows)}\nITEM: BOX BOUNDS {box}"]
    return "\n".join([*lines, "ITEM: ATOMS id type x y z ix iy iz vx vy vz", *rows]) + "\n"


def test_recorded_dump() -> None:
    frames = dumps.read_dump(SEGMENT / "ar-0.dump", ["Ar"])
    assert [frame.step for frame in frames] == [120, 140, 160, 180, 200, 220]
    for frame in frames:
        cell = frame.atoms.cell.array
        assert not np.triu(cell, 1).any()
        assert len(frame.atoms) == 8
    log = logs.read_log(SEGMENT / "ar-0.log")
    volumes = dict(zip(log.thermo["Step"], log.thermo["Volume"], strict=True))
    for frame in frames:
        assert frame.atoms.get_volume() == pytest.approx(volumes[frame.step], rel=1e-11)
        kinetic = dict(zip(log.thermo["Step"], log.thermo["Temp"], strict=True))[frame.step]
        # LAMMPS removes three degrees of freedom, ASE none; Boltzmann constants differ a bit.
        assert frame.atoms.get_temperature() * 8 / 7 == pytest.approx(kinetic, rel=1e-5)


def test_box_bounds_become_the_cell(tmp_path: Path) -> None:
    """LAMMPS manual, Howto_triclinic: the bounds are those of the tilted box."""
    # xlo_bound = xlo + min(0, xy, xz, xy + xz); xhi_bound likewise with max; y with yz alone.
    box = "xy xz yz pp pp pp\n-1.0 13.0 2.0\n0.5 11.5 -3.0\n1.0 8.0 1.5"
    (frame,) = dumps.read_dump(write(tmp_path, dump("1 1 3 4 5 0 0 0 0 0 0", box=box)), ["H"])
    expected = [[13 - 2 - (-1 + 3), 0, 0], [2.0, 11.5 - 1.5 - 0.5, 0], [-3.0, 1.5, 7.0]]
    assert np.array_equal(frame.atoms.cell.array, expected)
    assert np.array_equal(frame.atoms.positions, [[3.0 - (-1 + 3), 4.0 - 0.5, 5.0 - 1.0]])


@pytest.mark.parametrize(
    ("box", "cell", "position"),
    [
        ("pp pp pp\n1 11\n2 10\n3 9", np.diag([10.0, 8, 6]), [2.0, 2, 2]),
        (
            "abc origin pp pp pp\n5 1 0 1\n0 6 1 2\n1 0 7 3",
            np.array([[5.0, 1, 0], [0, 6, 1], [1, 0, 7]]),
            [2.0, 2, 2],
        ),
    ],
)
def test_other_box_forms(tmp_path: Path, box: str, cell: np.ndarray, position: list[float]) -> None:
    (frame,) = dumps.read_dump(write(tmp_path, dump("1 1 3 4 5 0 0 0 0 0 0", box=box)), ["H"])
    assert np.array_equal(frame.atoms.cell.array, cell)
    assert np.array_equal(frame.atoms.positions, [position])


def test_atoms_are_sorted_unwrapped_and_typed(tmp_path: Path) -> None:
    box = "xy xz yz pp pp pp\n0 13 3\n0 10 0\n0 10 0"
    rows = ["2 1 1 1 1 0 0 0 0.5 0 0", "1 2 9 9 9 -1 2 0 0 0 -0.25"]
    (frame,) = dumps.read_dump(write(tmp_path, dump(*rows, box=box)), ["H", "O"])
    assert frame.atoms.get_chemical_symbols() == ["O", "H"]
    assert np.array_equal(frame.atoms.positions[0], [9 - 10 + 2 * 3, 9 + 2 * 10, 9])
    velocities = velocities_to_lammps(frame.atoms.get_velocities())
    assert velocities == pytest.approx(np.array([[0, 0, -0.25], [0.5, 0, 0]]), rel=1e-14)


def test_a_walker_that_ran_away_is_still_read(tmp_path: Path) -> None:
    (frame,) = dumps.read_dump(write(tmp_path, dump("1 1 nan -inf 5 0 0 0 0 0 1e300")), ["H"])
    assert not np.isfinite(frame.atoms.positions).all()


def test_every_truncation_of_a_dump_drops_the_last_frame_alone(tmp_path: Path) -> None:
    text = dump("1 1 3 4 5 0 0 0 0 0 0", step=1) + dump("1 1 3 4 5 0 0 0 0 0 1.25", step=2)
    first = len(text) // 2
    for length in range(first, len(text)):
        frames = dumps.read_dump(write(tmp_path, text[:length]), ["H"])
        assert [frame.step for frame in frames] == [1], text[:length][-30:]
    assert len(dumps.read_dump(write(tmp_path, text), ["H"])) == 2


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("ITEM: TIMESTEP", "TIMESTEP", 1, "expected 'ITEM: TIMESTEP'"),
        ("\n5\n", "\nfive\n", 2, "one integer"),
        ("\n1\n", "\n3\n", 8 + 1, "2 atoms, expected 3"),
        (" iz", " izz", 9, "no column 'iz'"),
        ("1 1 3 4 5", "1 1 3 4 x", 10, "11 numbers"),
        ("1 1 3 4 5", "1 1 3 4", 10, "11 numbers"),
        ("1 1 3 4 5", "2 1 3 4 5", 9, "ids are not 1"),
        ("1 1 3 4 5", "1 2 3 4 5", 9, "type is not in 1"),
        ("0 10 0\n0 10 0\n0 10 0", "0 10 0\n0 10 0", 5, "box of three lines"),
        ("0 10 0", "0 10", 6, "3 numbers"),
        ("ITEM: NUMBER OF ATOMS\n1\n", "", 1, "'ITEM: NUMBER OF ATOMS' is missing"),
    ],
)
def test_a_malformed_frame_is_named_by_line(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    good = dump("1 1 3 4 5 0 0 0 0 0 0")
    bad = good.replace(old, new, 1)
    if words.startswith("2 atoms"):
        bad = good.replace("\n1\n", "\n3\n", 1) + "1 1 3 4 5 0 0 0 0 0 0\n"
    with pytest.raises(ParseError) as error:
        dumps.read_dump(write(tmp_path, bad + good), ["H"])
    assert words in str(error.value)
    assert error.value.line == line


def test_recorded_colvar() -> None:
    table = dumps.read_colvar(DATA / "plumed" / "torsion.colvar")
    assert table.fields == ("time", "t", "d", "m.bias")
    assert table.constants == {"min_t": "-pi", "max_t": "pi"}
    assert table.values.shape == (41, 4)


def test_recorded_hills_keep_every_byte() -> None:
    path = DATA / "plumed" / "torsion.hills"
    hills = dumps.read_hills(path)
    assert "".join(f"{line}\n" for line in (*hills.header, *hills.rows)) == path.read_text()
    assert not hills.truncated


def test_header_that_comes_again_and_the_clock_column() -> None:
    hills = dumps.read_hills(DATA / "plumed" / "live.hills")
    assert hills.table.fields == ("time", "v", "sigma_v", "height", "biasf")
    assert len(hills.header) == 3
    assert all(len(row.split()) == 5 for row in hills.rows)


def test_truncated_hill_is_dropped_and_reported(tmp_path: Path) -> None:
    text = (DATA / "plumed" / "torsion.hills").read_text()
    hills = dumps.read_hills(write(tmp_path, text[:-3]))
    assert (len(hills.rows), hills.truncated) == (5, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("#! FIELDS time v sigma_v height biasf\n 1 nan 1 1 1\n", "hill 1 is not finite"),
        ("#! FIELDS time v sigma_v height biasf\n 1 2 3\n", "line 2: expected 5 numbers"),
        ("1 2 3\n", "line 1: a row of values before"),
        ("#! FIELDS time v\n 1 2\n", "no columns 'time', 'height'"),
        ("#! FIELDS time v\n#! FIELDS time w\n", "line 2: the columns differ"),
        ("#! FIELDS a\n#! SET m 1\n#! SET m 2\n", "line 3: 'm' differs"),
    ],
)
def test_malformed_hills(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ParseError) as error:
        dumps.read_hills(write(tmp_path, text))
    assert words in str(error.value)


def test_absent_file(tmp_path: Path) -> None:
    for read in READERS:
        with pytest.raises(ParseError, match="cannot be read"):
            read(tmp_path / "none")


READERS: list[Callable[[Path], object]] = [
    lambda path: dumps.read_dump(path, ["Ar"]),
    logs.read_log,
    dumps.read_colvar,
    dumps.read_hills,
]
RECORDED = [
    SEGMENT / "ar-0.dump",
    SEGMENT / "ar-0.log",
    SEGMENT / "ar-0.colvar",
    SEGMENT / "ar-0.m.hills.1",
]


@given(st.data())
@settings(
    max_examples=cases(60, 1000),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_mutated_files_are_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    which = data.draw(st.integers(0, 3))
    content = bytearray(RECORDED[which].read_bytes()[:3000])
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content)))
        junk = data.draw(st.binary(max_size=8) | st.sampled_from(INSERTS))
        content[at : at + data.draw(st.integers(0, 12))] = junk
    path = tmp_path / "file"
    path.write_bytes(content)
    for read in READERS:
        with suppress(ParseError):
            read(path)


@given(st.binary(max_size=200))
@settings(max_examples=cases(50, 500), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    for read in READERS:
        with suppress(ParseError):
            read(path)


INSERTS = [
    b"ITEM: ATOMS ", b"ITEM: TIMESTEP\n", b"\n", b"nan", b"-inf", b"1e999", b"9" * 5000, b"-1",
    b"#! FIELDS ", b"#! SET a b\n", b"   Step Temp\n", b" clock\n", b"Loop time of x on",
    b'phasewalk/stop: {"step": 1, "reason": "force", "value": -1.e.2, "limit": x, "good": -1}\n',
    b"0.0", b'phasewalk/stop: {"step": 1, "reason": "nan", "value": 0, "limit": 0, "good": 5}\n',
    b"phasewalk/stop: {", b"\xff\x00",
]  # fmt: skip


def test_a_frame_without_velocities_that_has_elements_and_forces(tmp_path: Path) -> None:
    rows = ["2 2 O 1 2 3 0 0 0 0.5 0 -2", "1 1 H 3 4 5 1 0 0 7 8 9"]
    text = dump(*rows).replace(
        "type x y z ix iy iz vx vy vz", "type element x y z ix iy iz fx fy fz"
    )
    assert "fx fy fz" in text
    frame = dumps.still_frame(tmp_path / "a.dump", text.splitlines(), ["H", "O"])
    assert frame is not None
    assert frame.atoms.get_chemical_symbols() == ["H", "O"]
    assert frame.atoms.arrays["forces"].tolist() == [[7, 8, 9], [0.5, 0, -2]]
    assert not frame.atoms.has("momenta")
    assert dumps.still_frame(tmp_path / "a.dump", text.splitlines()[:-1], ["H", "O"]) is None
