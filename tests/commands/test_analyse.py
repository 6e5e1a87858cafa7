"""`phasewalk analyse` on folders whose numbers are known."""

import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers.productions import begin, correlated, write_dump, write_thermo

Run = Callable[..., tuple[int, str, str]]

MODULUS, KT_EV, GPA, SIDE = 10.0, 0.025852, 1.0 / 160.21766, 20.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two walkers at constant pressure; cells of a known bulk modulus, two kinds of atoms."""
    root = begin(tmp_path / "p.production", walkers=2)
    for n in range(2):
        rng = np.random.default_rng(n)
        width = math.sqrt(KT_EV * SIDE**3 / (MODULUS * GPA))
        volumes = SIDE**3 + width * correlated(rng, 3000, 0.6)
        cells = np.cbrt(volumes)[:, None, None] * np.eye(3)
        write_thermo(root / f"walker-{n}.thermo", cells, seed=n)
        steps = rng.normal(0.0, 0.1, size=(600, 20, 3))
        steps[:, 10:] = 0.0
        still = rng.uniform(0.0, SIDE, size=(1, 20, 3)) + rng.normal(0.0, 0.1, size=steps.shape)
        walk = still + np.cumsum(steps, axis=0)
        symbols = ["Li"] * 10 + ["U"] * 10
        write_dump(root / f"walker-{n}.dump", cells[::5], walk, symbols, every=50)
    return root


def table(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "analysis/summary.csv").open() as file:
        return {row["quantity"]: row for row in csv.DictReader(file)}


def test_results_are_printed_and_written(run: Run, folder: Path) -> None:
    code, out, _ = run("analyse", folder)
    assert code == 0
    rows = table(folder)
    assert all(name in out for name in rows)
    for name, exact in (
        ("temp_K", 300.0),
        ("pe_eV", -1000.0),
        ("vol_A3", SIDE**3),
        ("bulk_modulus_GPa", MODULUS),
        ("D_Li_1e-9_m2_per_s", 0.1**2 / 2 / 0.05 * 10),
    ):
        value, error = (float(rows[name][key]) for key in ("value", "standard_error"))
        assert abs(value - exact) < 4.0 * error, name
        assert error < 0.2 * abs(exact)
    assert rows["alpha_deg"]["remark"] == "constant"
    assert rows["D_U_1e-9_m2_per_s"]["value"] == ""
    assert "not diffusive" in rows["D_U_1e-9_m2_per_s"]["remark"]
    assert "C_GPa" in rows  # a cube's shape does not fluctuate
    files = {path.name for path in (folder / "analysis").iterdir()}
    for name in ("rdf", "msd", "vol-A3", "temp-K", "pe-eV"):
        assert {f"{name}.{ending}" for ending in ("csv", "svg", "png", "pdf")} <= files


def test_a_run_that_goes_on(run: Run, folder: Path) -> None:
    """Last lines and frames are incomplete while they are written."""
    assert run("analyse", folder)[0] == 0
    before = (folder / "analysis/summary.csv").read_bytes()
    for n in range(2):
        for ending, more in (
            ("thermo", "30000 299.1 -10"),
            ("dump", "ITEM: TIMESTEP\n30000\nITEM"),
        ):
            with (folder / f"walker-{n}.{ending}").open("a") as file:
                file.write(more)
    assert run("analyse", folder)[0] == 0
    assert (folder / "analysis/summary.csv").read_bytes() == before


def test_a_short_run_gives_no_errors(run: Run, folder: Path) -> None:
    for n in range(2):
        path = folder / f"walker-{n}.thermo"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:4]))
        (folder / f"walker-{n}.dump").unlink()
    code, out, _ = run("analyse", folder)
    assert code == 0
    assert "no frame yet" in out
    rows = table(folder)
    assert rows["vol_A3"]["value"] != ""
    for name in ("temp_K", "vol_A3", "bulk_modulus_GPa"):
        assert rows[name]["standard_error"] == ""
        assert rows[name]["remark"] == "too short: fewer than 10 independent samples"


def test_the_time_to_discard_can_be_given(run: Run, folder: Path) -> None:
    code, out, _ = run("analyse", folder, "--discard-ps", "20")
    assert code == 0
    assert "walker-1: 29.99 ps; frames and cells are used from 20 ps on" in out
    assert float(table(folder)["press_bar"]["independent_samples"]) <= 2000


@pytest.mark.parametrize("discard", ["-1", "30", "nan"])
def test_a_time_beyond_the_run_is_refused(run: Run, folder: Path, discard: str) -> None:
    code, _, err = run("analyse", folder, "--discard-ps", discard)
    assert (code, err.count("\n")) == (2, 1)
    assert "--discard-ps" in err
    assert "29.99 ps" in err


@pytest.mark.parametrize("content", [None, "", "# step temp_K pe_eV", "# step temp_K pe_eV\n0 30"])
def test_an_empty_run_is_one_line(run: Run, folder: Path, content: str | None) -> None:
    path = folder / "walker-1.thermo"
    path.unlink()
    if content is not None:
        path.write_text(content)
    code, out, err = run("analyse", folder)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "walker-1.thermo: no row yet" in err
    assert not (folder / "analysis").exists()


def test_another_folder_is_refused(run: Run, tmp_path: Path) -> None:
    code, _, err = run("analyse", tmp_path)
    assert (code, err.count("\n")) == (2, 1)
    assert "not the folder of a production run" in err


def test_a_damaged_row_is_named(run: Run, folder: Path) -> None:
    path = folder / "walker-0.thermo"
    lines = path.read_text().splitlines()
    lines[5] = lines[5][:20]
    path.write_text("\n".join(lines) + "\n")
    code, _, err = run("analyse", folder)
    assert (code, err.count("\n")) == (2, 1)
    assert "walker-0.thermo, line 6" in err
