"""Whether a campaign may end by itself: its goals and budgets against its journal."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..store import (
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
    """One rule after a round.

    Attributes:
        rule: its key in the campaign file.
        kind: goal (all that are given must be met) or budget (each ends the campaign).
        met: whether it is met, or spent.
        says: with its numbers, for people.
    """

    rule: str
    kind: str
    met: bool
    says: str

    @property
    def line(self) -> str:
        """For people: the rule, how it stands, and its numbers."""
        goals, budgets = {True: "met", False: "not met yet"}, {True: "spent", False: "within"}
        return f"{self.rule}: {(goals if self.kind == GOAL else budgets)[self.met]}: {self.says}"


def judged(records: Sequence[Record]) -> tuple[list[Rule], list[str]]:
    """The rules as they were last judged, and the keys of those that ended the campaign."""
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
    """Every rule that is given, after a round.

    Args:
        settings: the rules.
        records: the journal, which grows where free energies are computed.
        round_: the round that has just ended.
        walkers: labels that the next round may cost.
        free_energy: computes the largest difference (kJ/mol; None: there is no earlier one) of the
            free energies of the last two generations, and says it; asked for only where all other
            goals are met, since it costs segments.
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
            met, says = False, "not computed before the other goals are met"
        found.append(Rule("stop.free_energy", GOAL, met, says))
    return [*found, *_budgets(settings, records(), walkers)]


def ending(rules: Sequence[Rule]) -> list[Rule]:
    """The rules that end the campaign: all goals, else a budget that is spent; empty for none."""
    spent = [rule for rule in rules if rule.kind == BUDGET and rule.met]
    goals = [rule for rule in rules if rule.kind == GOAL]
    return goals if goals and all(rule.met for rule in goals) else spent


def _errors(goal: ErrorGoal, records: Sequence[Record], round_: int) -> Rule:
    """Each error of the last rounds that have one, against its limit."""
    measured = _measured(goal.on, records, round_)
    good, told = 0, ""
    for errors in reversed(measured):
        worse = [
            name for name, limit in goal.limits.items() if not _below(errors.value(name), limit)
        ]
        if worse:
            break
        good += 1
    if measured:
        told = ", ".join(
            _told(name, measured[-1].value(name), limit) for name, limit in goal.limits.items()
        )
    what = "the round's new frames" if goal.on == "new" else "the test set"
    told = told or "nothing measured yet"
    says = f"on {what}: {told}; below in the last {good} round(s), {goal.rounds} needed"
    return Rule("stop.errors", GOAL, good >= goal.rounds, says)


def _below(value: float | None, limit: float) -> bool:
    """Whether an error is below its limit; one that cannot be told is not."""
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
    """Labelled frames of walkers in each bin of the range."""
    width = (goal.max - goal.min) / goal.bins
    counts: Counter[int] = Counter()
    for value in positions(records, goal.colvar, system=goal.system, round_=round_):
        if goal.min <= value <= goal.max:
            counts[min(int((value - goal.min) / width), goal.bins - 1)] += 1
    missing = [index for index in range(goal.bins) if counts[index] < goal.frames]
    says = (
        f"{goal.colvar} {goal.min:g} … {goal.max:g}: {goal.bins - len(missing)} of {goal.bins} "
        f"bins hold {goal.frames} labelled frame(s) or more"
    )
    if missing:
        low = goal.min + missing[0] * width
        says += f"; the first that does not: {low:.6g} … {low + width:.6g}"
    return Rule(rule, GOAL, not missing, says)


def positions(
    records: Sequence[Record], colvar: str, *, system: str | None, round_: int
) -> list[float]:
    """Values of a collective variable of all labelled frames of walkers up to a round."""
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
    costs = ledger.costs(records, "")
    if settings.max_labels is not None:
        paid, limit = costs["labels"]["done"], settings.max_labels
        says = f"{paid} labels, and the next round may need {walkers} more (limit {limit})"
        found.append(Rule("stop.max_labels", BUDGET, paid + walkers > limit, says))
    if settings.max_core_hours is not None:
        hours = sum(costs["core_hours"].values())
        limit_h = settings.max_core_hours
        says = f"{hours:.3g} core-hours (limit {limit_h:g})"
        found.append(Rule("stop.max_core_hours", BUDGET, hours >= limit_h, says))
    if settings.max_wall_hours is not None:
        hours = ledger.timeline(records)["wall_seconds"] / ledger.SECONDS_PER_HOUR
        limit_h = settings.max_wall_hours
        says = f"{hours:.3g} hours of running (limit {limit_h:g})"
        found.append(Rule("stop.max_wall_hours", BUDGET, hours >= limit_h, says))
    return found


def _told(name: str, value: float | None, limit: float) -> str:
    """An error, by its name in `evaluation.Errors`, beside its limit."""
    words, unit = name, ""
    for ending, shown in (("_meV_per_atom", "meV/atom"), ("_meV_per_A", "meV/Å"), ("_GPa", "GPa")):
        if name.endswith(ending):
            words, unit = name.removesuffix(ending), shown
    words = words.replace("_mae", " MAE").replace("_rmse", " RMSE").replace("_", " ")
    shown = "–" if value is None else format(value, ".0f" if value >= 100 else ".3g")
    return f"{words} {shown} {unit} (limit {limit:g})"
