"""The record of hills: text, rendering, harvesting, and the bias that it means."""

import math
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasewalk.bias import dumps, sharing
from phasewalk.bias import hills as bias
from phasewalk.bias.hill_tables import Mark
from phasewalk.bias.hills import Cut, Deposit, Hill, HillsRecord
from phasewalk.bias.plumed import MetadFiles, metad_actions, rewrite
from phasewalk.bias.sharing import History, HistoryFile
from phasewalk.engines import discovery
from phasewalk.errors import EngineFailed, InputError, ParseError
from phasewalk.files import hash_bytes

DATA = Path(__file__).parents[1] / "data"
HEADER = (
    "#! FIELDS time v sigma_v height biasf",
    "#! SET multivariate false",
    "#! SET kerneltype stretched-gaussian",
)
ACTIONS = metad_actions("m: METAD ARG=v SIGMA=1 HEIGHT=1 PACE=10")


def hill(
    walker: str, step: int, *, round: int = 1, active: bool = True, centre: float = 1.0
) -> Hill:
    text = f"  {step * 0.5:.17g}   {centre:.17g}  0.5  2  -1"
    return Hill("s", "m", walker, round, step, 0, active, text)


def record(*hills: Hill) -> HillsRecord:
    return bias.merge(HillsRecord("s"), hills, headers={"m": HEADER})


def deposit(*walkers: str, start: int = 20, stop: int | None = 45, round: int = 2) -> Deposit:
    return Deposit("s", "m", walkers, round, 1, start, stop, 10, 0.5)


def write(path: Path, text: str) -> dumps.HillsFile:
    path.write_text(text)
    return dumps.read_hills(path)


def rows(*steps: int) -> str:
    return "".join(f" {step * 0.5}  1.25  0.5  2  -1\n" for step in steps)


def recorded() -> HillsRecord:
    path = DATA / "segment" / "hills.tsv"
    return bias.record_from_text(path.read_text(), path=path)


def from_plumed(path: Path) -> HillsRecord:
    found = dumps.read_hills(path)
    hills = [Hill("s", "m", "w", 1, i, 0, True, text) for i, text in enumerate(found.rows)]
    return bias.merge(HillsRecord("s"), hills, headers={"m": found.header})


def test_a_record_is_the_same_after_writing_and_reading() -> None:
    path = DATA / "segment" / "hills.tsv"
    assert bias.record_to_text(recorded()) == path.read_text()
    assert len(recorded().hills) == 6


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"), st.integers(0, 99), st.integers(1, 9), st.booleans(),
            st.floats(allow_nan=False, allow_infinity=False),
        ),
        unique_by=lambda row: row[:3],
    )
)  # fmt: skip
def test_any_record_survives(entries: list[tuple[str, int, int, bool, float]]) -> None:
    hills = [hill(w, s, round=r, active=a, centre=c) for w, s, r, a, c in entries]
    text = bias.record_to_text(record(*hills))
    assert bias.record_to_text(bias.record_from_text(text, path="p")) == text
    assert set(bias.record_from_text(text, path="p").hills) == set(hills)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("# phasewalk hills 1", "# phasewalk hills 2", 1),
        ("# system\ts", "system s", 2),
        ("# header", "# heder", 3),
        ("action\twalker", "walker\taction", 6),
        ("\ta\t1\t10\t0\t1\t", "\ta\t1\t10\t0\t2\t", 7),
        ("\ta\t1\t10\t0\t1\t", "\ta\t1\t-10\t0\t1\t", 7),
        ("\t1\t20\t0\t1\t", "\t1\t20\t0\t", 8),
        ("\t1\t20\t0\t1\t  10", "\t1\t20\t0\t1\t  nan", 8),
        ("\t1\t20\t0\t1\t  10", "\t1\t20\t0\t1\t  ten", 8),
    ],
)
def test_a_damaged_record_is_named_by_line(old: str, new: str, line: int) -> None:
    text = bias.record_to_text(record(hill("a", 10), hill("a", 20)))
    assert old in text
    with pytest.raises(ParseError) as error:
        bias.record_from_text(text.replace(old, new, 1), path="hills.tsv")
    assert error.value.line == line


def test_truncated_doubled_or_unsorted_records_are_refused() -> None:
    text = bias.record_to_text(record(hill("a", 10), hill("a", 20)))
    *head, one, two = text.splitlines()
    for bad in (text[:-1], "", "\n".join([*head, two, one, ""]), "\n".join([*head, one, one, ""])):
        with pytest.raises(ParseError):
            bias.record_from_text(bad, path="hills.tsv")


def test_render_is_in_order_of_round_step_walker_and_active_alone() -> None:
    hills = [
        hill("b", 10), hill("a", 20), hill("a", 10, round=2), hill("a", 10),
        hill("b", 20, active=False),
    ]  # fmt: skip
    text = bias.render(record(*hills), action="m")
    order = [(1, 10, "a"), (1, 10, "b"), (1, 20, "a"), (2, 10, "a")]
    assert text.splitlines()[:3] == list(HEADER)
    assert len(text.splitlines()) == 3 + len(order)
    assert [
        (h.round, h.step, h.walker) for h in bias.active_hills(record(*hills), action="m")
    ] == order
    assert bias.render(record(*reversed(hills)), action="m") == text
    apart = sharing.texts(record(*hills), apart=True)
    assert apart["b.m"] == "\n".join([*HEADER, hill("b", 10).text, ""])
    assert sharing.texts(record(*hills), apart=False) == {"m": text}


def test_no_active_hills_is_no_file() -> None:
    assert bias.render(HillsRecord("s"), action="m") == ""
    assert bias.render(record(hill("a", 10, active=False)), action="m") == ""


def test_merge_refuses_a_hill_twice_and_other_columns() -> None:
    with pytest.raises(InputError, match=r"the hill of a in round 1, step 10 \(m\) occurs twice"):
        bias.merge(record(hill("a", 10)), [hill("a", 10, centre=3.0)], headers={})
    with pytest.raises(InputError, match="columns of m changed"):
        bias.merge(record(hill("a", 10)), [], headers={"m": ("#! FIELDS time w",)})


def test_deactivate_takes_out_tails_of_rounds() -> None:
    hills = [hill("a", 10), hill("a", 20), hill("b", 20), hill("a", 30, round=2), hill("c", 10)]
    cuts = [Cut("a", 1, 10), Cut("a", 1, 15), Cut("c", 1, -1), Cut("b", 1, 20), Cut("d", 1, 0)]
    left = bias.deactivate(record(*hills), cuts)
    assert [(h.walker, h.step) for h in left.hills if not h.active] == [("c", 10), ("a", 20)]
    assert len(left.hills) == 5
    assert bias.effective(record(*hills), cuts) == (cuts[0], cuts[1], cuts[2])
    assert bias.effective(left, cuts) == ()


def test_new_hills_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "h"
    earlier = bias.render(record(hill("a", 10), hill("b", 20)), action="m")
    path.write_text(earlier + "\n".join(HEADER) + "\n" + rows(30, 40))
    new = bias.new_hills(dumps.read_hills(path, len(earlier)), deposit("a"), path=path)
    assert [(h.walker, h.round, h.step, h.generation, h.active) for h in new] == [
        ("a", 2, 30, 1, True),
        ("a", 2, 40, 1, True),
    ]
    assert new[0].text == rows(30).rstrip("\n")


@pytest.mark.parametrize(
    ("steps", "stop", "words"),
    [
        ((30,), 45, "found 1 hills, expected 2 for steps 20 to 45 with PACE=10"),
        ((30, 40, 50), 45, "found 3 hills, expected 2"),
        ((30, 30), 45, "found a hill at step 30, expected step 40"),
        ((20, 30), 45, "found a hill at step 20, expected step 30"),
        ((30, 35), 45, "found a hill at step 35, expected step 40"),
        ((30, 50), None, "found a hill at step 50, expected step 40"),
    ],
)
def test_lost_and_doubled_hills_are_found(
    tmp_path: Path, steps: tuple[int, ...], stop: int | None, words: str
) -> None:
    found = write(tmp_path / "h", "\n".join([*HEADER, ""]) + rows(*steps))
    with pytest.raises(EngineFailed) as error:
        bias.new_hills(found, deposit("a", stop=stop), path=tmp_path / "h")
    assert words in str(error.value)


def test_a_walker_that_was_cut_off_keeps_the_hills_that_it_laid(tmp_path: Path) -> None:
    found = write(tmp_path / "h", "\n".join([*HEADER, ""]) + rows(30, 40, 50) + " 3")
    new = bias.new_hills(found, deposit("a", stop=None), path=tmp_path / "h")
    assert [h.step for h in new] == [30, 40, 50]


def test_mpi_walkers_lay_their_hills_in_turn(tmp_path: Path) -> None:
    found = write(tmp_path / "h", "\n".join([*HEADER, ""]) + rows(30, 30, 40, 40))
    new = bias.new_hills(found, deposit("a", "b"), path=tmp_path / "h")
    assert [(h.walker, h.step) for h in new] == [("a", 30), ("b", 30), ("a", 40), ("b", 40)]
    more = write(tmp_path / "h", "\n".join([*HEADER, ""]) + rows(30, 30, 30))
    with pytest.raises(EngineFailed, match="expected 6"):
        bias.new_hills(more, deposit("a", "b", "c"), path=tmp_path / "h")


def earlier(folder: Path, old: HillsRecord, *, apart: bool) -> History:
    """The hills of a record as files."""
    files = {}
    for key, text in sharing.texts(old, apart=apart).items():
        path = folder / f"{key}.earlier"
        path.write_text(text)
        files[key] = HistoryFile(path, Mark(len(text), hash_bytes(text.encode())))
    return History(old.headers, files, len(old.hills), apart=apart)


def test_files_of_each_way_to_share(tmp_path: Path) -> None:
    old = record(hill("a", 10), hill("b", 10), hill("b", 20))
    head = bias.header(old, action="m")
    of = {
        mode: [
            sharing.on_disk(
                earlier(tmp_path, old, apart=mode == "own"), system="s", actions=ACTIONS,
                mode=mode, walker=walker, members="abc",
            )[0]
            for walker in "abc"
        ]
        for mode in ("merged", "own", "live", "mpi")
    }  # fmt: skip
    assert [item.content for item in of["merged"]] == [head] * 3
    assert len({item.history.path for item in of["merged"]}) == 1
    assert [(i.history_name, i.name) for i in of["merged"]] == [
        (f"{walker}.m.hills.0", f"{walker}.m.hills.1") for walker in "abc"
    ]
    assert [item.history and item.history.path.name for item in of["own"]] == [
        "a.m.earlier", "b.m.earlier", None,
    ]  # fmt: skip
    assert [item.words.restart for item in of["own"]] == [True, True, False]
    assert [item.content for item in of["live"]] == [head] * 3
    assert {item.history_name for item in of["live"]} == {"s.m.hills.0"}
    assert [item.name for item in of["live"]] == ["s.m.hills.1", "s.m.hills.2", "s.m.hills.3"]
    assert [(i.words.walkers, i.words.walker_id) for i in of["live"]] == [(4, 1), (4, 2), (4, 3)]
    assert [item.depositors for item in of["mpi"]] == [("a", "b", "c"), (), ()]
    assert {(item.name, item.appends) for item in of["mpi"]} == {("s.m.hills", True)}


@pytest.mark.parametrize("mode", ["merged", "own", "live", "mpi"])
def test_the_first_segment_does_not_restart(mode: str) -> None:
    for walker in "ab":
        (item,) = sharing.on_disk(
            History(), system="s", actions=ACTIONS, mode=mode, walker=walker, members="ab"
        )
        assert (item.content, item.words.restart, item.history) == ("", False, None)


def test_bias_is_what_plumed_printed() -> None:
    """Two variables, one of them periodic, well-tempered; PLUMED's own numbers."""
    table = dumps.read_colvar(DATA / "plumed" / "torsion.colvar")
    found = bias.bias_at(
        from_plumed(DATA / "plumed" / "torsion.hills"), table.values[:, 1:3], action="m"
    )
    assert table.values[:, 3].max() > 3
    assert found == pytest.approx(table.values[:, 3], abs=1e-9)


def test_bias_of_the_recorded_segment_begins_with_its_history() -> None:
    table = dumps.read_colvar(DATA / "segment" / "ar-1.colvar")
    (value,) = bias.bias_at(recorded(), table.values[:1, 1:2], action="m")
    assert value == pytest.approx(table.values[0, 3], abs=2e-5)


def test_bias_of_inactive_hills_is_nothing() -> None:
    one = record(hill("a", 10, centre=1.0), hill("a", 20, centre=1.0, active=False))
    at = np.array([[1.0], [1.5], [3.0]])
    cut = math.exp(-6.25)
    expected = [2.0, 2.0 * (math.exp(-0.5) - cut) / (1 - cut), 0.0]
    assert bias.bias_at(one, at, action="m") == pytest.approx(expected, rel=1e-14)
    assert not bias.bias_at(HillsRecord("s"), at, action="m").any()


def test_adaptive_hills_have_no_sum_here() -> None:
    old = record(hill("a", 10))
    wide = replace(old, headers={"m": (HEADER[0], "#! SET multivariate true")})
    with pytest.raises(InputError, match="full covariance"):
        bias.bias_at(wide, np.zeros((1, 1)), action="m")


@pytest.fixture
def plumed() -> discovery.Plumed:
    found = discovery.find_plumed(discovery.EngineSettings(), os.environ)
    if found is None or found.program is None:
        if "plumed" in os.environ.get("REQUIRE_ENGINES", ""):
            pytest.fail("PLUMED is required and was not found")
        pytest.skip("no plumed program")
    return found


@pytest.mark.engine
def test_plumed_reads_a_rendered_file(tmp_path: Path, plumed: discovery.Plumed) -> None:
    """A rendered record restarted by PLUMED gives the bias of `bias_at`."""
    old = record(*(hill("a", 10 * i, centre=0.1 * i) for i in range(1, 8)))
    old = bias.deactivate(old, [Cut("a", 1, 60)])
    (tmp_path / "h").write_text(bias.render(old, action="m"))
    (tmp_path / "plumed.dat").write_text(
        "v: DISTANCE ATOMS=1,2\n"
        "m: METAD ARG=v SIGMA=0.5 HEIGHT=1 PACE=1000 FILE=h RESTART=YES\n"
        "PRINT ARG=v,m.bias FILE=colvar FMT=%.15g\n"
    )
    frames = "".join(f"2\n50 50 50\nH 0 0 0\nH {0.3 * i + 0.01} 0 0\n" for i in range(9))
    (tmp_path / "frames.xyz").write_text(frames)
    argv = [plumed.program, "--no-mpi", "driver", "--plumed", "plumed.dat", "--ixyz", "frames.xyz"]
    env = {**os.environ, **plumed.env, "LD_LIBRARY_PATH": str(plumed.kernel.parent)}
    subprocess.run(argv, cwd=tmp_path, env=env, check=True, capture_output=True)
    table = dumps.read_colvar(tmp_path / "colvar")
    assert table.values[:, 2].max() > 1
    found = bias.bias_at(old, table.values[:, 1:2], action="m")
    assert found == pytest.approx(table.values[:, 2], abs=1e-9)


METADS = {
    "plain": "ARG=d SIGMA=0.05 HEIGHT=1 PACE=5",
    "periodic, tempered": "ARG=d,t SIGMA=0.05,0.3 HEIGHT=1 PACE=5 BIASFACTOR=5 TEMP=300",
    "geometric": "ARG=d,t ADAPTIVE=GEOM SIGMA=0.05 HEIGHT=1 PACE=5",
    "diffusion": "ARG=d,t ADAPTIVE=DIFF SIGMA=10 HEIGHT=1 PACE=5 BIASFACTOR=9 TEMP=300",
    "grid": "ARG=d,t SIGMA=0.05,0.3 HEIGHT=1 PACE=5 GRID_MIN=0,-pi GRID_MAX=3,pi GRID_BIN=300,60",
    "reweighting": "ARG=d SIGMA=0.05 HEIGHT=1 PACE=5 BIASFACTOR=5 TEMP=300 GRID_MIN=0 GRID_MAX=3 "
    "GRID_BIN=300 CALC_RCT",
}


@pytest.mark.engine
@pytest.mark.parametrize("kind", METADS)
def test_the_bias_is_that_of_one_file_of_all_hills(
    kind: str, tmp_path: Path, plumed: discovery.Plumed
) -> None:
    """Two METAD actions and a wall; earlier hills as a silent walker, or before the new ones.

    Bias, forces and new hills are the same to the last digit.
    """
    text = (
        f"d: DISTANCE ATOMS=1,2\nt: TORSION ATOMS=1,2,3,4\nm: METAD {METADS[kind]}\n"
        "n: METAD ARG=t SIGMA=0.3 HEIGHT=1 PACE=10\nUPPER_WALLS ARG=d AT=0.5 KAPPA=100\n"
        "PRINT ARG=*.bias STRIDE=1 FMT=%.16g\n"
    )
    actions = metad_actions(text)

    def drive(folder: Path, words: dict[str, MetadFiles], seed: int, first: int) -> None:
        folder.mkdir(exist_ok=True)
        ours = rewrite(text, metad=words, colvars=["colvar"])
        (folder / "plumed.dat").write_text(ours)
        rng = np.random.default_rng(seed)
        moves = rng.normal(0, 1.5, (60, 6, 3)).cumsum(axis=0) + rng.uniform(0, 80, (6, 3))
        frames = (
            "6\n99 99 99\n" + "".join(f"H {x:.9f} {y:.9f} {z:.9f}\n" for x, y, z in frame / 10)
            for frame in moves
        )
        (folder / "frames.xyz").write_text("".join(frames))
        argv = [str(plumed.program), "--no-mpi", "driver", "--plumed", "plumed.dat"]
        argv += ["--ixyz", "frames.xyz", "--length-units", "A", "--timestep", "0.002"]
        argv += ["--initial-step", str(first), "--dump-forces", "forces"]
        env = {**os.environ, **plumed.env, "LD_LIBRARY_PATH": str(plumed.kernel.parent)}
        subprocess.run(argv, cwd=folder, env=env, check=True, capture_output=True)

    laid = HillsRecord("s")
    for seed, walker in enumerate("ab"):
        words = {key: MetadFiles(f"{walker}.{key}", restart=False) for key in actions}
        drive(tmp_path / "before", words, seed, 0)
        for key in actions:
            found = dumps.read_hills(tmp_path / "before" / f"{walker}.{key}")
            hills = [Hill("s", key, walker, 1, i, 0, True, t) for i, t in enumerate(found.rows)]
            laid = bias.merge(laid, hills, headers={key: found.header})
    laid = bias.deactivate(laid, [Cut("b", 1, 4)])
    items = sharing.on_disk(
        earlier(tmp_path, laid, apart=False), system="s", actions=actions, mode="merged",
        walker="a", members="ab",
    )  # fmt: skip
    (tmp_path / "silent").mkdir()
    (tmp_path / "one").mkdir()
    for item in items:
        (tmp_path / "silent" / item.name).write_text(item.content)
        (tmp_path / "silent" / item.history_name).symlink_to(item.history.path)
        (tmp_path / "one" / item.action).write_text(bias.render(laid, action=item.action))
    drive(tmp_path / "silent", {item.action: item.words for item in items}, 7, 60)
    drive(tmp_path / "one", {key: MetadFiles(key, restart=True) for key in actions}, 7, 60)
    for name in ("colvar", "forces"):
        assert (tmp_path / "silent" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    assert dumps.read_colvar(tmp_path / "one" / "colvar").values[0, 1:].min() >= 0
    for item in items:
        old = bias.render(laid, action=item.action)
        new = dumps.read_hills(tmp_path / "silent" / item.name).rows
        assert new == dumps.read_hills(tmp_path / "one" / item.action, len(old)).rows
        assert len(new) == (11 if item.action == "m" else 5)


def some_hills(*, periodic: bool, stretched: bool, biasfactor: float) -> HillsRecord:
    """30 hills on a variable, or on a torsion and a variable.

    METAD ends those that are not stretched at its cutoff, but `sum_hills` does not. So these are
    wide, and lie around the torsion's ends: no cutoff is within 1.2 of them.
    """
    rng = np.random.default_rng(1)
    names = ["t", "v"] if periodic else ["v"]
    fields = ["time", *names, *(f"sigma_{name}" for name in names), "height", "biasf"]
    header = [f"#! FIELDS {' '.join(fields)}", "#! SET multivariate false"]
    header.append(f"#! SET kerneltype {'stretched-gaussian' if stretched else 'gaussian'}")
    if periodic:
        header += ["#! SET min_t -pi", "#! SET max_t pi"]
    hills = []
    for step in range(30):
        turn = rng.uniform(-np.pi, np.pi) if stretched else np.pi + rng.uniform(-0.5, 0.5)
        torsion = (turn + np.pi) % (2 * np.pi) - np.pi
        centre = [torsion, rng.uniform(0.5, 3.0)][-len(names) :]
        sigma = rng.uniform(1.0, 1.2, 2)[-len(names) :]
        sigma *= [0.15, 0.15][-len(names) :] if stretched else [0.7, 1.5][-len(names) :]
        row = [0.5 * step, *centre, *sigma, rng.uniform(1.0, 2.0), biasfactor]
        text = " ".join(f"{value:.17g}" for value in row)
        hills.append(Hill("s", "m", "a", 1, step, 0, True, text))
    return bias.merge(HillsRecord("s"), hills, headers={"m": tuple(header)})


@pytest.mark.engine
@pytest.mark.parametrize("biasfactor", [-1, 8])
@pytest.mark.parametrize("stretched", [True, False])
@pytest.mark.parametrize("periodic", [True, False])
def test_bias_is_the_sum_of_plumeds_own_program(
    periodic: bool, stretched: bool, biasfactor: float, tmp_path: Path, plumed: discovery.Plumed
) -> None:
    """`plumed sum_hills` on the same grid."""
    old = some_hills(periodic=periodic, stretched=stretched, biasfactor=biasfactor)
    (tmp_path / "h").write_text(bias.render(old, action="m"))
    grid = ["-pi,0", "pi,3.5", "40,35"] if periodic else ["0", "3.5", "70"]
    argv = [str(plumed.program), "--no-mpi", "sum_hills", "--hills", "h", "--outfile", "fes"]
    for option, value in zip(("--min", "--max", "--bin", "--fmt"), (*grid, "%.15g"), strict=True):
        argv += [option, value]
    argv += ["--negbias"] if biasfactor > 1 else []  # else a free energy, scaled
    env = {**os.environ, **plumed.env, "LD_LIBRARY_PATH": str(plumed.kernel.parent)}
    subprocess.run(argv, cwd=tmp_path, env=env, check=True, capture_output=True)
    table = np.loadtxt(tmp_path / "fes", ndmin=2)
    count = 2 if periodic else 1
    found = bias.bias_at(old, table[:, :count], action="m")
    assert len(table) == (40 * 36 if periodic else 71)
    assert found.max() > 2
    near = np.pi - np.abs(table[:, 0]) < 1.2 if periodic and not stretched else np.isfinite(found)
    assert near.sum() > 70
    np.testing.assert_allclose(found[near], -table[near, count], rtol=1e-6, atol=1e-9)
