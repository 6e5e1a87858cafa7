"""Verdict on a campaign (go on, converged, finished, look here), with reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..campaign import deck_versions, stop
from ..store import Ended, Judged, Walked, each
from ..walkers import broke_down
from . import intact
from .history import History

GO_ON, CONVERGED, LOOK = "go on", "converged", "look here"
NOT_CONVERGED, FINISHED = "not converged", "finished"
"""Verdicts on a campaign that ended by rounds or a budget, or that only trains on given data."""
STEADY_ERROR, STEADY_RANGE = 0.15, 0.05
"""Relative changes of an error and of an explored range below which they are converged."""
WORSE = 1.5
"""Growth factor of an error from one round to the next that is reported."""
MANY = 0.5
"""Fraction of failed labels, or of walkers that stopped early, that is reported."""


@dataclass(frozen=True)
class Verdict:
    """Verdict on a campaign.

    Attributes:
        word: go on, converged, not converged, finished, or look here.
        reasons: reasons with numbers, the most important first.
    """

    word: str
    reasons: Sequence[str]


def judge(history: History) -> Verdict:
    """The verdict on a campaign, with warnings about its sampling."""
    found = _judge(history)
    systems = history.settings.systems if history.settings else {}
    return Verdict(
        found.word,
        [
            *found.reasons,
            *intact.remarks(history.state["intact"]),
            *deck_versions.of_rounds(history.records, systems),
        ],
    )


def _judge(history: History) -> Verdict:
    trouble = [*_worse(history), *_rounds_trouble(history), *_error_trouble(history)]
    trouble += [f"could not be read: {problem}" for problem in history.problems]
    trouble += _broken_labels(history)
    rules, ended = _rule_lines(history), _ended_by(history)
    by_rule = [name for name in ended if name != "rounds"]
    goals = bool(by_rule) and all("max_" not in name for name in by_rule)
    lines = [line for line in (_final(history),) if line]
    if by_rule:
        lines = [f"ended by {', '.join(by_rule)}", *lines]
    if trouble:
        return Verdict(LOOK, [*trouble, *lines, *rules])
    if _only_data(history):
        return _trained_on_data(history, lines)
    if goals:
        return Verdict(CONVERGED, [f"all goals are met: {', '.join(by_rule)}", *lines[1:], *rules])
    if by_rule:
        before = f"{lines[0]}, before its goals were met"
        return Verdict(NOT_CONVERGED, [before, *lines[1:], *rules, *_trend(history)])
    converged = _converged(history)
    if converged and not rules:
        thumb = "this is a rule of thumb; set your own limits in stop:"
        return Verdict(CONVERGED, [converged, *lines, thumb])
    if ended == ["rounds"]:
        return Verdict(NOT_CONVERGED, [_all_rounds(history), *lines, *rules, *_trend(history)])
    reasons = [*_ending(history), *rules, *lines, *_trend(history)]
    return Verdict(GO_ON, reasons or ["no round is finished yet"])


def _all_rounds(history: History) -> str:
    """Message for a campaign that has completed all rounds."""
    done = history.state["rounds"][-1]["round"]
    goals = [rule for rule in stop.judged(history.records)[0] if rule.kind == stop.GOAL]
    unmet = [rule.rule for rule in goals if not rule.met]
    why = f"; not met: {', '.join(unmet)}" if unmet else ", but its errors have not converged"
    return (
        f"all {done} round(s) are done{why}; to continue, increase rounds: above {done} and run "
        "the campaign again"
    )


def _only_data(history: History) -> bool:
    """Whether the campaign only uses given labels and cannot compute new ones."""
    return bool(history.settings and history.settings.reference.imported)


def _trained_on_data(history: History, lines: Sequence[str]) -> Verdict:
    """Verdict on a campaign that trains on given data and has no rounds."""
    if not history.state["generations"]:
        return Verdict(GO_ON, ["no generation is trained yet; run the campaign"])
    labels = history.state["labels"]["initial"]
    measured = [] if lines else ["no errors are known; give labelled frames as test_data"]
    return Verdict(
        FINISHED if history.state["finished"] else GO_ON,
        [
            *lines,
            *measured,
            f"trained on {labels} given labels (reference.imported); it has no rounds, because "
            "new frames cannot be labelled; to continue, add frames to initial_data, or start a "
            "new campaign with a program under reference:",
        ],
    )


def tested(history: History) -> tuple[str, Mapping[str, Any]] | None:
    """The last generation that was evaluated on the test set, and its errors."""
    for entry in reversed(history.state["generations"]):
        if entry.get("test"):
            return str(entry["generation"]), entry["test"]
    return None


def _final(history: History) -> str:
    """Errors of the last model on the test set, as text; empty if it was not evaluated."""
    found = tested(history)
    if not found:
        return ""
    name, errors = found
    return (
        f"generation {name} on the test set ({errors['frames']} frames): force MAE "
        f"{errors['force_mae_meV_per_A']:.0f} meV/Å, RMSE {errors['force_rmse_meV_per_A']:.0f} "
        f"(the forces' rms is {errors['force_rms_meV_per_A']:.0f}), pressure MAE "
        f"{errors['pressure_mae_GPa']:.2g} GPa"
    )


def errors_now(history: History) -> tuple[str, Mapping[str, Any]] | None:
    """The latest out-of-sample errors, and the frames on which they were computed."""
    for entry in reversed(history.state["rounds"]):
        if before := entry.get("before_learning"):
            return f"new frames of round {entry['round']}, before they were learned", before
    for entry in reversed(history.state["generations"]):
        if entry.get("test"):
            return f"test set, generation {entry['generation']}", entry["test"]
    return None


def ranges(
    history: History, up_to: int | None = None
) -> dict[tuple[str, str], tuple[float, float]]:
    """(system, variable) → range explored by all walkers up to a round."""
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for trace in history.traces:
        if up_to is not None and trace.round > up_to:
            continue
        for name in history.colvars(trace.system):
            values = trace.values.get(name, np.zeros(0))
            values = values[np.isfinite(values)]
            if len(values):
                low, high = found.get((trace.system, name), (np.inf, -np.inf))
                found[trace.system, name] = (
                    min(low, float(values.min())),
                    max(high, float(values.max())),
                )
    return found


def _before(history: History) -> list[tuple[int, float]]:
    """Round and force MAE (meV/Å) on its new frames before training on them."""
    return [
        (entry["round"], float(entry["before_learning"]["force_mae_meV_per_A"]))
        for entry in history.state["rounds"]
        if entry.get("before_learning")
    ]


def _rounds_trouble(history: History) -> list[str]:
    """Problems of the last round, and missing hills in any round."""
    found = []
    last = history.state["rounds"][-1]
    failed, done = len(last["failed_labels"]), last["labels"]
    if failed and failed >= MANY * (failed + done):
        found.append(
            f"{failed} of {failed + done} labels of round {last['round']} failed: "
            f"{last['failed_labels'][-1]}"
        )
    walkers = [w for r in history.state["rounds"][-1:] for w in r.get("walkers", ())]
    stopped = [walker for walker in walkers if broke_down(Walked.model_validate(walker))]
    if walkers and len(stopped) >= MANY * len(walkers):
        found.append(
            f"{len(stopped)} of {len(walkers)} walkers of round {last['round']} stopped early; the "
            f"last: {stopped[-1]['halted']}"
        )
    for entry in history.state["rounds"]:
        for system, hills in entry.get("hills", {}).items():
            if hills["deposited"] != hills["expected"]:
                found.append(
                    f"round {entry['round']}, {system}: {hills['deposited']} hills were deposited, "
                    f"expected {hills['expected']}"
                )
    return found


def _worse(history: History) -> list[str]:
    """That the last model is worse than the generation before it."""
    found = history.state["last_model"]
    return [found["says"]] if found and found["worse"] else []


def _broken_labels(history: History) -> list[str]:
    """Labels of structures with other bonds that the model is trained on."""
    found = history.state["intact"]
    if not found["labels_with_other_bonds_learned"]:
        return []
    return [
        f"{found['labels_with_other_bonds_learned']} of the {found['labels_checked']} labels of "
        "the training have other bonds than their start structure"
    ]


def _error_trouble(history: History) -> list[str]:
    """An error that has increased, or that is as large as the forces."""
    found = []
    before = _before(history)
    if len(before) > 1 and before[-1][1] > WORSE * before[-2][1]:
        found.append(
            f"the force MAE on new frames increased from {before[-2][1]:.0f} to "
            f"{before[-1][1]:.0f} meV/Å: walkers have entered a region that is new to the model "
            "(the error then decreases in the next rounds), or they break down"
        )
    now = errors_now(history)
    if now and now[1]["force_rmse_meV_per_A"] > now[1]["force_rms_meV_per_A"]:
        found.append(
            f"on the {now[0]} the force RMSE ({now[1]['force_rmse_meV_per_A']:.0f} meV/Å) is "
            f"larger than the rms force ({now[1]['force_rms_meV_per_A']:.0f})"
        )
    return found


def _rule_lines(history: History) -> list[str]:
    """Last results of the stop rules."""
    return [rule.line for rule in stop.judged(history.records)[0]]


def _ended_by(history: History) -> list[str]:
    ends = [ended for _, ended in each(history.records, Ended)]
    return ends[-1].by if ends and history.state["finished"] else []


def _ending(history: History) -> list[str]:
    """What ends the campaign, while its last model is being made; empty in all other cases."""
    judged = [(record.round, one.ended_by) for record, one in each(history.records, Judged)]
    round_, by = judged[-1] if judged else (0, [])
    if not by or history.state["rounds"][-1]["round"] != round_:
        return []
    return [f"its last model is being made; then it ends by {', '.join(by)}"]


def _converged(history: History) -> str:
    """Why a campaign has converged; empty if it has not, or if it is not known yet."""
    before = _before(history)
    if len(before) < 3:
        return ""
    (_, first), (_, second), (number, third) = before[-3:]
    spread = (max(first, second, third) - min(first, second, third)) / third
    old, new = ranges(history, number - 2), ranges(history, number)
    grown = [
        1 - (old[key][1] - old[key][0]) / max(high - low, 1e-12) if key in old else 1.0
        for key, (low, high) in new.items()
    ]
    if spread > STEADY_ERROR or max(grown, default=1.0) > STEADY_RANGE:
        return ""
    return (
        f"in the last three rounds the force MAE on new frames varied by less than "
        f"{100 * STEADY_ERROR:.0f} % ({first:.0f}, {second:.0f}, {third:.0f} meV/Å), and the "
        f"explored range increased by less than {100 * STEADY_RANGE:.0f} %"
    )


def _trend(history: History) -> list[str]:
    """Trend of the errors and of the explored range."""
    found = []
    before = _before(history)
    if len(before) > 1:
        found.append(
            "force MAE on new frames by round: "
            + ", ".join(f"{error:.0f}" for _, error in before[-5:])
            + " meV/Å"
        )
    elif before:
        found.append(f"one round is finished: force MAE {before[0][1]:.0f} meV/Å on its new frames")
    last = history.state["rounds"][-1]["round"]
    if last > 1:
        old, new = ranges(history, last - 1), ranges(history, last)
        for key, (low, high) in new.items():
            if key in old and (low < old[key][0] or high > old[key][1]):
                found.append(
                    f"round {last} extended {key[1]} of {key[0]} from {old[key][0]:.5g} … "
                    f"{old[key][1]:.5g} to {low:.5g} … {high:.5g}"
                )
    return found
