"""Names of stages and tasks; the only module that builds or interprets them."""

import re

LABEL, TRAIN, COMPILE, DEPLOY, PROVE = "label", "train", "compile", "deploy", "prove"
EVALUATE, GATE, SEGMENT, STEER, LOCATED = "evaluate", "gate", "segment", "steer", "colvars"
STOP, END, VERSIONS, SETTINGS_KEPT = "stop", "end", "versions", "settings"
BOOTSTRAP, ATOM, IMPORT, REWRITING = "bootstrap", "atom", "import", "rewriting"
LATE, HELD_OUT, COMPARED, FORM, RANKS = "late", "held out", "compared", "form", "ranks"
FES, BEGIN, ESTIMATE = "fes", "begin", "estimate"
"""The stages: kinds of tasks."""

FINAL = "final"
"""Name of the generation trained on all labels at the end."""
INITIAL = "initial data"
"""Name of the task that imports existing labels."""
FREE_ENERGY, PRODUCTION = "free energy", "production"
ADDED = {FREE_ENERGY: "labels of the free energy ", PRODUCTION: "labels of the production run "}
"""Beginning of the names of tasks that import labels of frames of a frozen run, by its kind."""
NAMED = "name in the cache"
"""Name of the task that records the name of this campaign in the cache."""


def label_task(key: str, round_: int) -> str:
    """Name of the task that computes a label in a round."""
    return f"label {key} of round {round_}"


def late_task(round_: int) -> str:
    """Name of the record that says which labels of a round its generation is trained without."""
    return f"late labels of round {round_}"


def held_out_task(round_: int) -> str:
    """Name of the record that says which labels of a round are not used for training."""
    return f"labels of round {round_} held out"


def evaluate_late_task(round_: int) -> str:
    """Name of the task that computes errors on late labels that only the final model learns."""
    return f"evaluate late labels of round {round_}"


def late_held_out_task(round_: int) -> str:
    """Name of the record that says which of these labels are not used for training."""
    return f"late labels of round {round_} held out"


def train_task(generation: str | int) -> str:
    """Name of the task that trains a generation."""
    return f"train generation {generation}"


def deploy_task(generation: str) -> str:
    """Name of the task that deploys a generation for LAMMPS."""
    return f"deploy generation {generation}"


def form_task(generation: str) -> str:
    """Name of the task that adds the other form of a generation's deployed model."""
    return f"other form of generation {generation}"


def ranks_task(generation: str, mode: str) -> str:
    """Name of the task that makes and validates a generation's model for several MPI ranks."""
    return f"generation {generation} on several ranks, {mode}"


def compile_task(mode: str, network: str) -> str:
    """Name of the task that compiles a network shared by several generations."""
    return f"compile {mode} {network}"


def compile_alone_task(generation: str, network: str) -> str:
    """Name of the task that compiles the checkpoint of one generation."""
    return f"compile generation {generation} {network}"


def compared_models_task(generation: str) -> str:
    """Name of the record of whether a generation is worse than the one before it."""
    return f"errors of generation {generation} compared"


def prove_task(generation: str) -> str:
    """Name of the task that validates a generation that was deployed again."""
    return f"prove generation {generation} again"


def gate_task(generation: str) -> str:
    """Name of the record of a generation that failed its validation."""
    return f"gate of generation {generation}"


def evaluate_task(generation: str | int, round_: int) -> str:
    """Name of the task that computes the errors of a generation on a round's new labels."""
    return f"evaluate generation {generation} on round {round_}"


def segment_task(round_: int) -> str:
    """Name of the task that runs all walkers of a round."""
    return f"segment {round_}"


def steer_task(round_: int) -> str:
    """Name of the record of the frames from which walkers start a round."""
    return f"walkers of round {round_}"


def colvars_task(system: str, round_: int | None) -> str:
    """Name of the task that computes collective variables; of the test set if round is None."""
    return f"colvars of {'the test set' if round_ is None else f'round {round_}'}, {system}"


def atom_task(symbol: str) -> str:
    """Name of the task that computes an isolated atom."""
    return f"atom {symbol}"


def verify_task(frame: object) -> str:
    """Name of the task that recomputes a frame of the initial data."""
    return f"verify initial frame {frame}"


def compared_task(what: str, campaign: str) -> str:
    """Name of the record of whether labels or atoms of another campaign are used."""
    return f"{what} of {campaign or 'another campaign'} compared"


def stop_task(round_: int) -> str:
    """Name of the record of the stop rules after a round."""
    return f"stop rules after round {round_}"


def end_task(round_: int) -> str:
    """Name of the record of why a campaign ended."""
    return f"end after round {round_}"


def versions_task(number: int) -> str:
    """Name of a record of the engines' versions, counted from 1."""
    return f"versions {number}"


def free_energy_task(generation: str, hills: float) -> str:
    """Name of the record of the costs of a generation's free energies."""
    return f"free energy of generation {generation}, hills × {hills:g}"


def added_task(generation: str, number: int, source: str) -> str:
    """Name of the record of labels added from a run of a source; all sets are counted from 1."""
    return f"{ADDED[source]}{generation}, set {number}"  # not "generation final": see is_final


def rewriting_task(name: str) -> str:
    """Name of the record that announces that a file is being rewritten."""
    return f"{REWRITING} {name}"


def is_late_at_end(task: str) -> bool:
    """Whether a task judges late labels before the final model is trained, by its name."""
    return re.fullmatch(r"evaluate late labels .*|late labels .* held out", task) is not None


def is_final(task: str) -> bool:
    """Whether a task belongs to the final generation, by its name."""
    return re.search(rf"\bgeneration {FINAL}\b", task) is not None
