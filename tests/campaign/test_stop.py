"""Each rule of `stop:` against journals that meet it, and that nearly do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.outputs import whole
from phasewalk.campaign import inputs, stop
from phasewalk.campaign.stop_settings import StopSettings
from phasewalk.errors import InputError
from phasewalk.store.records import Record
from phasewalk.store.records_names import LOCATED

HOUR = 3600.0


def record(stage: str, round_: int, seconds: float = 0.0, **outputs: Any) -> Record:
    number = next(_numbers)
    time = 1e9 + 100.0 * number
    return whole(Record(f"{stage} {number}", stage, round_, "", outputs, seconds, time, cores=1))


def _counting() -> Iterator[int]:
    number = 0
    while True:
        number += 1
        yield number


_numbers = _counting()


def errors(force: float, **more: float | None) -> dict[str, float | None]:
    found: dict[str, float | None] = dict.fromkeys(
        (
            *("force_mae_meV_per_A", "force_rmse_meV_per_A", "pressure_mae_GPa"),
            *("energy_scatter_meV_per_atom", "stress_mae_GPa"),
        ),
        1.0,
    )
    return {**found, "force_mae_meV_per_A": force, **more}


def evaluated(round_: int, new: float, test: float | None = None) -> list[Record]:
    """A round's evaluations: of the generation before it, and of its own."""
    own = None if test is None else errors(test)
    return [
        record("evaluate", round_, generation=str(round_ - 1), new=errors(new), test=None),
        record("evaluate", round_, generation=str(round_), new=errors(0.1), test=own),
    ]


def label(round_: int, key: str, walker: str | None = "a-0", seconds: float = 1.0) -> Record:
    origin = {"system": "a", "round": round_, **({"walker": walker} if walker else {})}
    return record("label", round_, seconds, key=key, origin=origin)


def located(round_: int, system: str = "a", **values: float) -> Record:
    found = {key: [value] for key, value in values.items()}
    return record(LOCATED, round_, system=system, names=["v"], values=found, test=False)


def judge(
    settings: dict[str, Any], records: list[Record], round_: int = 2, free: Any = None
) -> list[stop.Rule]:
    return stop.judge(
        StopSettings.model_validate(settings),
        lambda: records,
        round_=round_,
        walkers=4,
        free_energy=free or (lambda: pytest.fail("asked for a free energy")),
    )


def ends(settings: dict[str, Any], records: list[Record], **more: Any) -> bool:
    return bool(stop.ending(judge(settings, records, **more)))


ERRORS = {"errors": {"rounds": 2, "force_mae_meV_per_A": 50.0}}


def test_without_rules_nothing_ends() -> None:
    assert judge({}, evaluated(1, 1.0)) == []
    assert not ends({}, evaluated(1, 1.0))


@pytest.mark.parametrize(
    ("new", "met"),
    [
        ((49.0, 49.9), True),
        ((90.0, 49.0), False),  # only in the last round
        ((49.0, 50.0), False),  # the limit itself is not below it
        ((49.0,), False),  # one round of two
        ((), False),
        ((90.0, 20.0, 30.0), True),
        ((20.0, 30.0, 90.0), False),  # not in the last ones
    ],
)
def test_errors_below_their_limits_for_some_rounds(new: tuple[float, ...], met: bool) -> None:
    records = [r for n, error in enumerate(new, start=1) for r in evaluated(n, error)]
    (rule,) = judge(ERRORS, records, round_=3)
    assert rule.met is met
    assert ends(ERRORS, records, round_=3) is met
    if new:
        assert f"force MAE {new[-1]:.3g} meV/Å (limit 50)" in rule.says


def test_every_error_that_is_given_must_be_below() -> None:
    settings = {"errors": {"rounds": 1, "force_mae_meV_per_A": 50.0, "pressure_mae_GPa": 0.5}}
    assert not ends(settings, evaluated(2, 10.0))  # 1.0 GPa
    settings["errors"]["pressure_mae_GPa"] = 1.5
    assert ends(settings, evaluated(2, 10.0))


def test_an_error_that_cannot_be_told_is_not_below() -> None:
    settings = {"errors": {"rounds": 1, "energy_scatter_meV_per_atom": 50.0}}
    one = record("evaluate", 2, generation="1", new=errors(1.0, energy_scatter_meV_per_atom=None))
    assert not ends(settings, [one])


def test_errors_of_the_test_set_are_those_of_the_rounds_own_generation() -> None:
    settings = {"errors": {"on": "test", "rounds": 1, "force_mae_meV_per_A": 50.0}}
    assert ends(settings, evaluated(2, new=500.0, test=20.0))
    assert not ends(settings, evaluated(2, new=20.0, test=500.0))
    assert not ends(settings, evaluated(2, new=20.0))


def test_errors_after_learning_do_not_count() -> None:
    assert not ends({"errors": {"rounds": 1, "force_mae_meV_per_A": 50.0}}, evaluated(1, 80.0))


COVERED = {"covered": [{"colvar": "v", "min": 0.0, "max": 10.0, "bins": 5}]}
FULL = {"k1": 1.0, "k2": 3.0, "k3": 5.0, "k4": 7.0, "k5": 10.0}


def test_a_range_is_covered_where_each_bin_holds_a_labelled_frame() -> None:
    records = [*(label(1, key) for key in FULL), located(1, **FULL)]
    assert ends(COVERED, records)
    # the same with one bin empty, with one frame outside, and with one that has no label
    (rule,) = judge(COVERED, [*(label(1, key) for key in FULL), located(1, **{**FULL, "k3": 3.5})])
    assert not rule.met
    assert "4 of 5 bins" in rule.says
    assert "4 … 6" in rule.says
    assert not ends(COVERED, [*records[:-1], located(1, **{**FULL, "k5": 10.1})])
    assert not ends(COVERED, records[1:])


def test_bootstrap_frames_cover_nothing() -> None:
    records = [*(label(0, key, walker=None) for key in FULL), located(0, **FULL)]
    assert not ends(COVERED, records)


def test_a_bin_may_need_several_frames() -> None:
    several = {"covered": [{**COVERED["covered"][0], "frames": 2}]}
    twice = {**FULL, **{f"{key}b": value for key, value in FULL.items()}}
    records = [*(label(1, key) for key in twice), located(1, **twice)]
    assert ends(several, records)
    assert not ends(several, [*(label(1, key) for key in FULL), located(1, **FULL)])


def test_another_system_covers_nothing() -> None:
    settings = {"covered": [{**COVERED["covered"][0], "system": "b"}]}
    records = [*(label(1, key) for key in FULL), located(1, **FULL)]
    assert not ends(settings, records)
    assert ends(settings, [*records[:-1], located(1, system="b", **FULL)])


def test_variables_that_are_not_known_cover_nothing() -> None:
    records = [*(label(1, key) for key in FULL), record(LOCATED, 1, failed="PLUMED")]
    assert not ends(COVERED, records)


def test_later_rounds_do_not_count() -> None:
    records = [*(label(3, key) for key in FULL), located(3, **FULL)]
    assert not ends(COVERED, records, round_=2)
    assert ends(COVERED, records, round_=3)


def test_all_goals_must_be_met() -> None:
    both = {**ERRORS, **COVERED}
    good = [*evaluated(1, 20.0), *evaluated(2, 20.0)]
    covered = [*(label(1, key) for key in FULL), located(1, **FULL)]
    assert not ends(both, good)
    assert not ends(both, covered)
    rules = judge(both, [*good, *covered])
    assert [rule.rule for rule in stop.ending(rules)] == ["stop.errors", "stop.covered[0]"]


@pytest.mark.parametrize(
    ("difference", "met"), [(1.9, True), (2.0, True), (2.1, False), (None, False)]
)
def test_free_energies_that_agree(difference: float | None, met: bool) -> None:
    settings = {"free_energy": {"max_difference_kJ_per_mol": 2.0}}
    (rule,) = judge(settings, [], free=lambda: (difference, "generations 1 and 2 differ"))
    assert rule.met is met
    assert "limit 2 kJ/mol" in rule.says


def test_a_free_energy_is_paid_for_only_where_all_else_is_met() -> None:
    settings = {**ERRORS, "free_energy": {"max_difference_kJ_per_mol": 2.0}}
    bad = [*evaluated(1, 90.0), *evaluated(2, 90.0)]
    assert not ends(settings, bad)  # `judge` fails the test where it is asked for
    good = [*evaluated(1, 20.0), *evaluated(2, 20.0)]
    assert ends(settings, good, free=lambda: (0.5, "they differ by 0.5"))


def test_the_budget_of_labels_is_never_exceeded() -> None:
    paid = [label(0, f"k{n}", walker=None) for n in range(8)]
    assert not ends({"max_labels": 12}, paid)  # four walkers still fit
    (rule,) = stop.ending(judge({"max_labels": 11}, paid))
    assert rule.rule == "stop.max_labels"
    assert "8 labels" in rule.says
    assert "4 more" in rule.says


def test_failed_labels_are_no_labels_but_cost_core_hours() -> None:
    failed = record("label", 1, HOUR, failed="it did", kind="crash", origin={}, key="k")
    assert not ends({"max_labels": 4}, [failed])
    assert ends({"max_core_hours": 1.0}, [failed])
    assert not ends({"max_core_hours": 1.01}, [failed])


def test_wall_hours_count_what_runs_side_by_side_once_and_no_pauses() -> None:
    def ran(end: float, seconds: float) -> Record:
        return Record(f"train {end}", "train", 1, "", {}, seconds, 1e9 + end, cores=1)

    side_by_side = [ran(HOUR, HOUR), ran(HOUR, 0.5 * HOUR)]
    a_week_later = ran(HOUR + 7 * 24 * HOUR, 0.5 * HOUR)
    records = [*side_by_side, a_week_later]
    assert ends({"max_wall_hours": 1.5}, records)
    assert not ends({"max_wall_hours": 1.51}, records)


def test_goals_that_are_met_are_told_before_a_budget_that_is_spent() -> None:
    good = [*evaluated(1, 20.0), *evaluated(2, 20.0)]
    rules = judge({**ERRORS, "max_labels": 3}, good)
    assert all(rule.met for rule in rules)
    assert [rule.rule for rule in stop.ending(rules)] == ["stop.errors"]


def test_budgets_count_what_the_free_energies_have_just_cost() -> None:
    records: list[Record] = []

    def costly() -> tuple[float, str]:
        records.append(record("fes", 2, 40 * HOUR))
        return 9.9, "they differ"

    settings = {"free_energy": {"max_difference_kJ_per_mol": 2.0}, "max_core_hours": 10.0}
    (rule,) = stop.ending(judge(settings, records, free=costly))
    assert rule.rule == "stop.max_core_hours"


def test_failed_tries_are_time_that_has_passed() -> None:
    tried = {"seconds": 2 * HOUR, "cores": 1, "time": 1e9 + 2 * HOUR, "failed": "slow"}
    late = Record("label", "label", 1, "", {"earlier": [tried], "key": "k", "origin": {}}, 50.0,
                  1e9 + 2 * HOUR + 60.0, cores=1)  # fmt: skip
    assert ends({"max_wall_hours": 2.0}, [late])


def test_a_budget_ends_also_where_goals_are_open_and_says_so_alone() -> None:
    rules = judge({**ERRORS, "max_labels": 3}, [*evaluated(1, 90.0)])
    assert [rule.rule for rule in stop.ending(rules)] == ["stop.max_labels"]


CAMPAIGN = """
campaign: tiny
systems:
  a:
    structure: a.extxyz
    walkers: 1
    ensemble: npt
    plumed: |
      vol: VOLUME
      METAD ARG=vol SIGMA=0.002 HEIGHT=0.5 PACE=20
bootstrap: {count: 8}
stop: {%s}
"""


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("errors: {on: test, force_mae_meV_per_A: 50}", "requires test_data"),
        ("errors: {rounds: 2}", "give at least one limit"),
        ("errors: {force_mae: 50}", "did you mean force_mae_meV_per_A"),
        ("max_labels: 7", "the bootstrap requires 8"),
        ("covered: [{colvar: volume, min: 1, max: 2}]", "volume is not biased by METAD"),
        ("covered: [{colvar: vol, min: 2, max: 1}]", "max: 1 must be greater than min: 2"),
        ("covered: [{system: b, colvar: vol, min: 1, max: 2}]", "unknown system b"),
        ("max_core_hours: 0", "must be greater than 0"),
        ("max_wall_hours: never", "must be a number"),
        ("max_label: 20", "did you mean max_labels"),
    ],
)
def test_rules_that_make_no_sense_are_refused(tmp_path: Path, rule: str, says: str) -> None:
    import ase.io
    from ase.build import bulk

    ase.io.write(tmp_path / "a.extxyz", bulk("NaCl", "rocksalt", a=5.64, cubic=True))
    file = tmp_path / "campaign.yaml"
    file.write_text(CAMPAIGN % rule)
    with pytest.raises(InputError, match=says) as caught:
        inputs.load(file)
    assert "\n" not in str(caught.value)
