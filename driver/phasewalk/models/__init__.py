"""Models: NequIP's training, compilation, weights, and stamps of deployed models."""

from . import explained, swap, training_config
from .checkpoints import TRUST
from .model import (
    Deployed,
    ENDINGS,
    NETWORK,
    Trained,
    deploy_job,
    misfit,
    read_deployment,
    read_stamp,
    read_training,
    require_loaded,
    stamp_from_json,
    stamp_text,
    statistics,
    stored_statistics,
    training_job,
    training_progress,
)
from .resume import left_behind
from .settings import Budget, DeploySettings, ModelSettings, PRESETS, Statistics
from .swap import Template, Weights
from .training_config import PROGRESS, WEIGHTS, graph_of, network

__all__ = [
    "Budget",
    "DeploySettings",
    "Deployed",
    "ENDINGS",
    "ModelSettings",
    "NETWORK",
    "PRESETS",
    "PROGRESS",
    "Statistics",
    "TRUST",
    "Template",
    "Trained",
    "WEIGHTS",
    "Weights",
    "deploy_job",
    "explained",
    "graph_of",
    "left_behind",
    "misfit",
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
    "training_progress",
]
