"""Validation: errors of a model on labels, and the proof of a deployed model."""

from . import accuracy, explained, gate, ranks
from .accuracy import Errors, Prediction, compared, read_labelled
from .gate import Probes, Proof, proof_text

__all__ = [
    "Errors",
    "Prediction",
    "Probes",
    "Proof",
    "accuracy",
    "compared",
    "explained",
    "gate",
    "proof_text",
    "ranks",
    "read_labelled",
]
