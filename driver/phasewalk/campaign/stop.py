"""Evaluate the stop rules (goals and budgets) of a campaign from its journal."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..store import (
    LABEL,
    Evaluated,
    Judged,
    Labelled,
    Located,
    MeasuredErrors,
    Record,
    each,
    ledger,
)
from .stop_settings import CoverGoal, ErrorGoal, StopSettings

GOAL, BUDGET = "goal", "budget"


@dataclass(frozen=True)
class Rule:
    """Result of one rule after a round.

    Attributes:
        rule: its key in the campaign file.
        kind: goal (the campaign ends if all are met) or budget (it ends if one is exhausted).
        met: whether the goal is met, or the budget is exhausted.
        says: values and limits, as text.
    """

    rule: str
    kind: str
    met: bool
    says: str

    @property
    def line(self) -> str:
        """The result as one line of text."""
        goals = {True: "met", False: "not met yet"}
        budgets = {True: "exhausted", False: "not exhausted"}
        return f"{self.rule}: {(goals if self.kind == GOAL else budgets)[self.met]}: {self.says}"


def judged(records: Sequence[Record]) -> tuple[list[Rule], list[str]]:
    """The last results of the rules, and the keys of those that ended the campaign."""
    found = [rules for _, rules in each(records, Judged)]
    if not found:
        return [], []
    return [Rule(**one.dump()) for one in found[-1].rules], found[-1].ended_by


def judge(
    settings: StopSettings,
    records: Callable[[], Sequence[Record]],
    *,
    round_: int,
    walkers: int,
    free_energy: Callable[[], tuple[float | None, str]],
) -> list[Rule]:
    """Evaluate all given rules after a round.

    Args:
        settings: the rules.
        records: returns the journal, to which computing free energies adds records.
        round_: the round that has just finished.
        walkers: maximum number of labels of the next round.
        free_energy: computes the largest difference (kJ/mol; None if there is no earlier one) of
            the free energies of the last two generations, and describes it; called only if all
            other goals are met, because it requires additional segments.
    """
    found = []
    if settings.errors is not None:
        found.append(_errors(settings.errors, records(), round_))
    for number, goal in enumerate(settings.covered or ()):
        found.append(_covered(goal, records(), round_, f"stop.covered[{number}]"))
    if settings.free_energy is not None:
        limit = settings.free_energy.max_difference_kJ_per_mol
        if all(rule.met for rule in found):
            difference, says = free_energy()
            met = difference is not None and difference <= limit
            says = f"{says} (limit {limit:g} kJ/mol)"
        else:
            met, says = False, "computed only if all other goals are met"
        found.append(Rule("stop.free_energy", GOAL, met, says))
    return [*found, *_budgets(settings, records(), walkers)]


def ending(rules: Sequence[Rule]) -> list[Rule]:
    """The rules that end the campaign: all goals, or exhausted budgets; empty if none."""
    spent = [rule for rule in rules if rule.kind == BUDGET and rule.met]
    goals = [rule for rule in rules if rule.kind == GOAL]
    return goals if goals and all(rule.met for rule in goals) else spent


def _errors(goal: ErrorGoal, records: Sequence[Record], round_: int) -> Rule:
    """Compare the errors of the last rounds with their limits."""
    measured = _measured(goal.on, records, round_)
    good, shown = 0, ""
    for errors in reversed(measured):
        worse = [
            name for name, limit in goal.limits.items() if not _below(errors.value(name), limit)
        ]
        if worse:
            break
        good += 1
    if measured:
        shown = ", ".join(
            _beside(name, measured[-1].value(name), limit) for name, limit in goal.limits.items()
        )
    what = "the round's new frames" if goal.on == "new" else "the test set"
    shown = shown or "no errors yet"
    says = f"on {what}: {shown}; below the limits in {good} successive round(s), "
    says += f"required {goal.rounds}"
    return Rule("stop.errors", GOAL, good >= goal.rounds, says)


def _below(value: float | None, limit: float) -> bool:
    """Whether an error is known and below its limit."""
    return value is not None and value < limit


def _measured(on: str, records: Sequence[Record], round_: int) -> list[MeasuredErrors]:
    """Out-of-sample errors by round."""
    found: dict[int, MeasuredErrors] = {}
    for record, evaluated in each(records, Evaluated):
        if not 0 < record.round <= round_:
            continue
        own = evaluated.generation == str(record.round)
        errors = evaluated.test if on == "test" else evaluated.new
        if own == (on == "test") and errors is not None:
            found[record.round] = errors
    return [found[number] for number in sorted(found)]


def _covered(goal: CoverGoal, records: Sequence[Record], round_: int, rule: str) -> Rule:
    """Count the labelled frames of walkers in each bin of the range."""
    width = (goal.max - goal.min) / goal.bins
    counts: Counter[int] = Counter()
    for value in positions(records, goal.colvar, system=goal.system, round_=round_):
        if goal.min <= value <= goal.max:
            counts[min(int((value - goal.min) / width), goal.bins - 1)] += 1
    missing = [index for index in range(goal.bins) if counts[index] < goal.frames]
    says = (
        f"{goal.colvar} {goal.min:g} … {goal.max:g}: {goal.bins - len(missing)} of {goal.bins} "
        f"bins with at least {goal.frames} labelled frame(s)"
    )
    if missing:
        low = goal.min + missing[0] * width
        says += f"; first other bin: {low:.6g} … {low + width:.6g}"
    return Rule(rule, GOAL, not missing, says)


def positions(
    records: Sequence[Record], colvar: str, *, system: str | None, round_: int
) -> list[float]:
    """Values of a collective variable for all labelled frames of walkers up to a round."""
    walked = {
        labelled.key
        for record, labelled in each(records, Labelled)
        if labelled.origin.get("walker") is not None and record.round <= round_
    }
    found = located(records, system=system)
    return [found[key][colvar] for key in found if key in walked and colvar in found[key]]


def located(records: Sequence[Record], *, system: str | None = None) -> dict[str, dict[str, float]]:
    """Collective variables of labelled frames: key of the label → variable → value."""
    found: dict[str, dict[str, float]] = {}
    for _, one in each(records, Located):
        if system in (None, one.system):
            for key, values in one.values.items():
                found[key] = dict(zip(one.names, values, strict=True))
    return found


def _budgets(settings: StopSettings, records: Sequence[Record], walkers: int) -> list[Rule]:
    found = []
    if settings.max_labels is not None:
        paid = sum(record.stage == LABEL and not record.failed for record in records)
        limit = settings.max_labels
        says = f"{paid} labels, and up to {walkers} more in the next round (limit {limit})"
        found.append(Rule("stop.max_labels", BUDGET, paid + walkers > limit, says))
    if settings.max_core_hours is not None:
        hours = sum(ledger.core_hours(records).values())
        limit_h = settings.max_core_hours
        says = f"{hours:.3g} core-hours (limit {limit_h:g})"
        found.append(Rule("stop.max_core_hours", BUDGET, hours >= limit_h, says))
    if settings.max_wall_hours is not None:
        hours = ledger.timeline(records)["wall_seconds"] / ledger.SECONDS_PER_HOUR
        limit_h = settings.max_wall_hours
        says = f"{hours:.3g} hours of run time (limit {limit_h:g})"
        found.append(Rule("stop.max_wall_hours", BUDGET, hours >= limit_h, says))
    return found


def _beside(name: str, value: float | None, limit: float) -> str:
    """An error, by its name in `validation.Errors`, with its limit."""
    words, unit = name, ""
    for ending, shown in (("_meV_per_atom", "meV/atom"), ("_meV_per_A", "meV/Å"), ("_GPa", "GPa")):
        if name.endswith(ending):
            words, unit = name.removesuffix(ending), shown
    words = words.replace("_mae", " MAE").replace("_rmse", " RMSE").replace("_", " ")
    shown = "–" if value is None else format(value, ".0f" if value >= 100 else ".3g")
    return f"{words} {shown} {unit} (limit {limit:g})"
