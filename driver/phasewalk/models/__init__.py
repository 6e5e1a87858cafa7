"""Models: NequIP's training, compilation, weights, and stamps of deployed models."""

from . import swap, training_config
from .checkpoints import TRUST
from .model import (
    ENDINGS,
    NETWORK,
    Deployed,
    Trained,
    check_unchanged,
    deploy_job,
    ending,
    misfit,
    name_for_ranks,
    read_deployment,
    read_stamp,
    read_training,
    require_loaded,
    stamp_from_json,
    stamp_text,
    statistics,
    stored_statistics,
    training_job,
    training_launch,
    training_progress,
)
from .resume import left_behind
from .settings import PRESETS, Budget, DeploySettings, FinalSettings, ModelSettings, Statistics
from .swap import Template, Weights
from .training_config import PROGRESS, WEIGHTS, graph_of, network

__all__ = [
    "ENDINGS",
    "NETWORK",
    "PRESETS",
    "PROGRESS",
    "TRUST",
    "WEIGHTS",
    "Budget",
    "DeploySettings",
    "Deployed",
    "FinalSettings",
    "ModelSettings",
    "Statistics",
    "Template",
    "Trained",
    "Weights",
    "check_unchanged",
    "deploy_job",
    "ending",
    "graph_of",
    "left_behind",
    "misfit",
    "name_for_ranks",
    "network",
    "read_deployment",
    "read_stamp",
    "read_training",
    "require_loaded",
    "stamp_from_json",
    "stamp_text",
    "statistics",
    "stored_statistics",
    "swap",
    "training_config",
    "training_job",
    "training_launch",
    "training_progress",
]
