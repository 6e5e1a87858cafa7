"""What the tasks of a campaign are called, and their stages: made and told apart here alone."""

import re

LABEL, TRAIN, COMPILE, DEPLOY, PROVE = "label", "train", "compile", "deploy", "prove"
EVALUATE, GATE, SEGMENT, STEER, LOCATED = "evaluate", "gate", "segment", "steer", "colvars"
STOP, END, VERSIONS, SETTINGS_KEPT = "stop", "end", "versions", "settings"
BOOTSTRAP, ATOM, IMPORT, REWRITING = "bootstrap", "atom", "import", "rewriting"
FES, BEGIN, ESTIMATE = "fes", "begin", "estimate"
"""The stages: what kind of task a record is of."""

FINAL = "final"
"""Name of the generation that learns from all labels, at the end."""
INITIAL = "initial data"
"""The task that takes over labels which were there already."""
NAMED = "name in the cache"
"""The task that notes what this campaign is called in the cache."""


def label_task(key: str, round_: int) -> str:
    """Name of the task that makes a label in a round."""
    return f"label {key} of round {round_}"


def train_task(generation: str | int) -> str:
    """Name of the task that trains a generation."""
    return f"train generation {generation}"


def deploy_task(generation: str) -> str:
    """Name of the task that makes a generation run in LAMMPS."""
    return f"deploy generation {generation}"


def compile_task(mode: str, network: str) -> str:
    """Name of the task that compiles a network, which many generations share."""
    return f"compile {mode} {network}"


def compile_alone_task(generation: str, network: str) -> str:
    """Name of the task that compiles the checkpoint of one generation."""
    return f"compile generation {generation} {network}"


def prove_task(generation: str) -> str:
    """Name of the task that proves a generation which was deployed again."""
    return f"prove generation {generation} again"


def gate_task(generation: str) -> str:
    """Name of the record of a generation that failed its proof."""
    return f"gate of generation {generation}"


def evaluate_task(generation: str | int, round_: int) -> str:
    """Name of the task that measures a generation on a round's new labels."""
    return f"evaluate generation {generation} on round {round_}"


def segment_task(round_: int) -> str:
    """Name of the task that lets all walkers walk."""
    return f"segment {round_}"


def steer_task(round_: int) -> str:
    """Name of the record that says where each walker begins a round."""
    return f"walkers of round {round_}"


def colvars_task(system: str, round_: int | None) -> str:
    """Name of the task that finds collective variables; of the test set where round is None."""
    return f"colvars of {'the test set' if round_ is None else f'round {round_}'}, {system}"


def atom_task(symbol: str) -> str:
    """Name of the task that computes an isolated atom."""
    return f"atom {symbol}"


def verify_task(frame: object) -> str:
    """Name of the task that computes a frame of the initial data again."""
    return f"verify initial frame {frame}"


def compared_task(what: str, campaign: str) -> str:
    """Name of the record that says whether labels or atoms of another campaign are believed."""
    return f"{what} of {campaign or 'another campaign'} compared"


def stop_task(round_: int) -> str:
    """Name of the record of the stop rules after a round."""
    return f"stop rules after round {round_}"


def end_task(round_: int) -> str:
    """Name of the record that says why a campaign ended."""
    return f"end after round {round_}"


def versions_task(number: int) -> str:
    """Name of a record of the engines' versions, counted from 1."""
    return f"versions {number}"


def free_energy_task(generation: str, hills: float) -> str:
    """Name of the record of what the free energies of a generation cost."""
    return f"free energy of generation {generation}, hills × {hills:g}"


def rewriting_task(name: str) -> str:
    """Name of the record that says that a file is being written anew."""
    return f"{REWRITING} {name}"


def is_final(task: str) -> bool:
    """Whether a task, by its name, is of the final generation."""
    return re.search(rf"\bgeneration {FINAL}\b", task) is not None
