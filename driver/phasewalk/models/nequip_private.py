"""Undocumented functions of nequip that the child programs use.

A new release may move or change any of them; pyproject.toml limits nequip to the versions that were
tested.
"""

from pathlib import Path

from nequip.data import AtomicDataDict
from nequip.data.ase import from_ase
from nequip.model.inference_models.torchscript import save_torchscript_model
from nequip.model.saved_models.load_utils import load_saved_model
from nequip.nn._ghost_exchange_base import GhostExchangeModule, NoOpGhostExchangeModule
from nequip.nn.compile import DictInputOutputWrapper, ListInputOutputWrapper
from nequip.nn.interaction_block import InteractionBlock
from nequip.nn.model_modifier_utils import replace_submodules
from nequip.scripts import _package_utils, package
from nequip.scripts._compile_utils import ASE_TARGET, BATCH_TARGET, PAIR_NEQUIP_TARGET
from nequip.scripts._workflow_utils import set_workflow_state
from nequip.utils.aot import aot_export_model
from nequip.utils.aoti_metadata import (
    NEQUIP_AOTI_INPUTS_KEY,
    NEQUIP_AOTI_OUTPUTS_KEY,
    serialize_aoti_keys,
)
from nequip.utils.compile import conditional_torchscript_mode, prepare_model_for_compile
from nequip.utils.dtype import test_model_output_similarity_by_dtype as check_similar
from nequip.utils.fx import _nequip_make_fx as trace
from nequip.utils.fx import check_make_fx_diff as check_traces
from nequip.utils.global_state import get_latest_global_state, set_global_state

__all__ = [
    "ASE_TARGET",
    "BATCH_TARGET",
    "NEQUIP_AOTI_INPUTS_KEY",
    "NEQUIP_AOTI_OUTPUTS_KEY",
    "PAIR_NEQUIP_TARGET",
    "AtomicDataDict",
    "DictInputOutputWrapper",
    "GhostExchangeModule",
    "InteractionBlock",
    "ListInputOutputWrapper",
    "NoOpGhostExchangeModule",
    "aot_export_model",
    "build_package",
    "check_similar",
    "check_traces",
    "conditional_torchscript_mode",
    "from_ase",
    "get_latest_global_state",
    "load_saved_model",
    "prepare_model_for_compile",
    "replace_submodules",
    "save_torchscript_model",
    "serialize_aoti_keys",
    "set_global_state",
    "set_workflow_state",
    "trace",
]


def build_package(checkpoint: Path, output: str, *, own: str) -> None:
    """Run `nequip-package build` with the modules of another library put into the package.

    Args:
        checkpoint: of nequip-train; its code is executed.
        output: file to write, `.nequip.zip`.
        own: the library, of which the network's classes import torch, nequip and ase alone.
    """
    _package_utils._INTERNAL_MODULES.add(own)
    _package_utils._EXTERNAL_MODULES.add("ase")
    package.main(["build", str(checkpoint), output])
