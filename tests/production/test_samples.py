"""What walkers have sampled: units, which hills a walker felt and when, and the free energy."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from phasewalk.bias import hills as bias
from phasewalk.bias.hills import Gaussians, Hill, HillsRecord
from phasewalk.bias.sharing import BiasSharing
from phasewalk.errors import InputError, NothingLeft, StoreError
from phasewalk.free_energies.free_energy import FreeEnergy
from phasewalk.production import freeze, samples
from phasewalk.production.samples import Biased, Piece
from phasewalk.rounds import reopen
from phasewalk.store import directory
from phasewalk.units import BOLTZMANN_KJ_PER_MOL_K
from phasewalk.walkers.segment import SystemSettings

Array = NDArray[np.float64]
KT = BOLTZMANN_KJ_PER_MOL_K * 300.0
KCAL = 4.184
TEXT = "UNITS ENERGY=kcal/mol\nv: DISTANCE ATOMS=1,2\nm: METAD ARG=v SIGMA=0.15 HEIGHT=0.03 PACE=20"
HEADER = (
    "#! FIELDS time v sigma_v height biasf",
    "#! SET multivariate false",
    "#! SET kerneltype stretched-gaussian",
)
GRID = np.linspace(-1.7, 1.7, 341)
ROUNDS, STEPS, PACE, STRIDE = 30, 600, 20, 10


def system(sharing: BiasSharing = "merged", text: str = TEXT) -> Biased:
    settings = SystemSettings(structure="x.xyz", plumed=text, bias_sharing=sharing)
    return Biased("s", settings, "m")


def record(*hills: Hill) -> HillsRecord:
    return bias.merge(HillsRecord("s"), hills, headers={"m": HEADER})


def hill(walker: str, round_: int, step: int, centre: float, height: float) -> Hill:
    text = f" {step * 0.5} {centre:.17g} 0.15 {height:.17g} -1"
    return Hill("s", "m", walker, round_, step, 0, True, text)


def well(s: Array) -> Array:
    """A double well, kJ/mol."""
    found: Array = 5.0 * KT * (s**2 - 1.0) ** 2 + 0.8 * KT * s
    return found


def walk(seed: int) -> tuple[list[Piece], HillsRecord]:
    """Two walkers that see each other's hills only from the next segment on; kcal/mol."""
    rng = np.random.default_rng(seed)
    one = Gaussians(GRID[:, None], np.full((341, 1), 0.15), np.ones(341), np.array([np.inf]), True)
    kernel = bias.kernels(one, GRID[:, None])
    height, shared, at = 0.03, np.zeros(341), {"s-0": 70, "s-1": 270}
    hills, pieces = [], []
    for round_ in range(1, ROUNDS + 1):
        new = {name: np.zeros(341) for name in at}
        for name in at:
            rows = []
            for step in range((round_ - 1) * STEPS + 1, round_ * STEPS + 1):
                felt = shared + new[name]
                to = at[name] + int(np.rint(rng.normal(0.0, 12.0)))
                if 0 <= to < 341:
                    rise = well(GRID[[at[name], to]]) + KCAL * felt[[at[name], to]]
                    if rng.random() < np.exp(-(rise[1] - rise[0]) / KT):
                        at[name] = to
                if step % STRIDE == 0:
                    rows.append((step, GRID[at[name]], felt[at[name]]))
                if step % PACE == 0:
                    new[name] = new[name] + height * kernel[:, at[name]]
                    hills.append(hill(name, round_, step, GRID[at[name]], height))
            steps, values, felt_there = np.array(rows).T
            pieces.append(Piece(name, round_, steps.astype(int), values[:, None], felt_there, True))
        shared = shared + sum(new.values())
    return pieces, record(*hills)


@pytest.fixture(scope="module")
def walked() -> tuple[list[Piece], HillsRecord]:
    return walk(2)


def off(found: FreeEnergy) -> Array:
    (centres,) = found.centres
    wrong: Array = found.values - well(centres)
    return wrong[found.compared] - wrong[found.compared].mean()


def test_a_known_free_energy_is_found(walked: tuple[list[Piece], HillsRecord]) -> None:
    found = samples.estimate(*walked, system())
    assert found.variables[0].name == "v"
    assert found.frames == (1440, 1440)
    assert found.values[found.compared].max() > 4.0 * KT
    assert np.sqrt(np.mean(off(found) ** 2)) < 0.5 * KT
    assert found.agree


def test_the_unit_of_energy_counts(walked: tuple[list[Piece], HillsRecord]) -> None:
    wrong = samples.estimate(*walked, system(text=TEXT.replace("kcal", "kj")))
    assert np.sqrt(np.mean(off(wrong) ** 2)) > KT


def test_a_walker_feels_its_own_hills_at_once_and_others_from_the_next_segment(
    walked: tuple[list[Piece], HillsRecord],
) -> None:
    pieces, laid = walked
    hills = samples._hills(laid, system())
    for piece in (pieces[0], pieces[1], pieces[20]):
        acted = samples._bias(
            hills, system(), piece.walker, piece.round, steps=piece.steps, values=piece.values
        )
        assert np.abs(acted - piece.bias).max() < 1e-12
    late = pieces[20]
    live = samples._bias(
        hills, system("live"), late.walker, late.round, steps=late.steps, values=late.values
    )
    assert (live >= late.bias - 1e-12).all()
    assert live.sum() > late.bias.sum() + 1e-3


def test_the_bias_everywhere_is_the_bias_where_the_walker_was(
    walked: tuple[list[Piece], HillsRecord],
) -> None:
    pieces, laid = walked
    some = [pieces[0], pieces[1], pieces[20], pieces[21]]
    for piece, everywhere in samples._on_grid(some, laid, system(), GRID[:, None]):
        place = np.rint((piece.values[:, 0] - GRID[0]) / 0.01).astype(int)
        assert everywhere.shape == (len(piece.steps), 341)
        assert np.abs(everywhere[np.arange(len(place)), place] - piece.bias).max() < 1e-12


def test_without_frames_there_is_no_free_energy() -> None:
    with pytest.raises(NothingLeft, match="s: there are no frames"):
        samples.estimate([], record(), system())


def test_walkers_that_laid_no_hill_yet(walked: tuple[list[Piece], HillsRecord]) -> None:
    """PACE is longer than a segment: a first one without hills, and one with some."""
    pieces, _ = walked
    first = [replace(piece, bias=np.zeros(len(piece.steps))) for piece in pieces[:2]]
    for nothing in (HillsRecord("s"), record()):
        with pytest.raises(NothingLeft, match="no hill was deposited"):
            samples.estimate(first, nothing, system())
    one = record(hill("s-0", 2, 2 * STEPS, 0.9, 0.03))
    found = samples.estimate([*first, *pieces[2:4]], one, system())
    assert np.isfinite(found.values).any()


@pytest.mark.parametrize(
    ("word", "unit"),
    [("", 1.0), ("ENERGY=kcal/mol", KCAL), ("ENERGY=eV", 96.48530749925792), ("ENERGY=2.5", 2.5),
     ("ENERGY=Ha", 2625.499638), ("TIME=fs ENERGY=J/mol", 1e-3)],
)  # fmt: skip
def test_units_of_energy(word: str, unit: float) -> None:
    assert samples.energy_unit_kJ(f"UNITS {word}" if word else "") == pytest.approx(unit)


@pytest.mark.parametrize("word", ["meV", "-1", "nan", "0"])
def test_what_is_no_unit_of_energy(word: str) -> None:
    with pytest.raises(InputError, match="line 1, UNITS: ENERGY="):
        samples.energy_unit_kJ(f"UNITS ENERGY={word}")


def test_variables_with_a_period() -> None:
    header = (
        "#! FIELDS time phi psi sigma_phi sigma_psi height biasf",
        "#! SET multivariate false",
        "#! SET min_phi -pi",
        "#! SET max_phi pi",
        "#! SET kerneltype gaussian",
    )
    phi, psi = samples.variables(HillsRecord("s", {"m": header}), "m")
    assert (phi.name, phi.lowest, phi.period) == ("phi", -np.pi, pytest.approx(2 * np.pi))
    assert (psi.name, psi.period) == ("psi", np.inf)
    assert phi.wrap(np.array([np.pi + 0.1]))[0] == pytest.approx(-np.pi + 0.1)


def test_only_systems_with_one_metad_have_a_free_energy() -> None:
    plain = SystemSettings(structure="x")
    one = system().settings
    two = SystemSettings(structure="x", plumed=f"{TEXT}\nMETAD ARG=v SIGMA=1 HEIGHT=1 PACE=1")
    assert [of.name for of in samples.biased({"a": plain, "b": one})] == ["b"]
    with pytest.raises(InputError, match="no system has METAD"):
        samples.biased({"a": plain})
    with pytest.raises(
        InputError, match=r"systems.c: the PLUMED text has 2 METAD actions \(m, metad2\)"
    ):
        samples.biased({"c": two})


def test_lower_hills_change_nothing_else() -> None:
    assert samples.lower(TEXT, 1.0) == TEXT
    assert samples.lower(TEXT, 0.2) == TEXT.replace("HEIGHT=0.03", "HEIGHT=0.006")
    with pytest.raises(InputError, match="no HEIGHT=number"):
        samples.lower("METAD ARG=v SIGMA=1 TAU=5 BIASFACTOR=5 PACE=10", 0.5)


def test_a_campaign_without_models_or_walkers_is_told_so(tmp_path: Path) -> None:
    root = tmp_path / "run"
    opened = directory.open_campaign(root, {"name": "salt"})
    root.joinpath("campaign.yaml").write_text("campaign: s\nsystems: {s: {structure: x.xyz}}\n")
    with pytest.raises(StoreError, match="no deployed generation yet"):
        reopen.read_generation(opened, None)
    with pytest.raises(InputError, match="no segment is finished yet"):
        reopen.read_inputs(opened)
    opened.close()


def test_places() -> None:
    assert freeze.place("3", samples.HILLS) == "fes/gen-003"
    assert freeze.place("final", samples.HILLS) == "fes/final"
    assert freeze.place("3", 1.0) == "fes/gen-003-hills-1"
    assert freeze.place("final", 1.0, 7) == "fes/final-hills-1-seed-7"
