"""A finished generation's model in the mode in which a free energy's segments end earlier.

A campaign deploys its last generation as TorchScript, since no segment follows. A free energy then
walks many: where a compilation of the same network is at hand, or pays, the generation's weights
are written into it, and it is proved in full before a walker uses it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .. import models
from ..campaign import Outputs, Work
from ..engines import has_gpu, processor
from ..errors import EngineFailed, GateFailed
from ..files import check_file, hash_of
from ..models import swap, training_config
from ..store import DEPLOY, DeployedModel, Trained, deploy_task, train_task
from . import compile, deploy, evaluate
from .compile import Compiled
from .deploy import Generation

MODE = "aotinductor"


def refit(campaign: Work, frozen: Work, generation: Generation, segments: int) -> Generation:
    """The generation as the segments to come are to use it; itself where nothing is gained.

    Args:
        campaign: that the generation is of; its store is only read.
        frozen: of the free energy, whose store takes the deployed model.
        generation: to walk with.
        segments: to come.
    """
    wanted = campaign.campaign.settings.deploy.mode
    trained = campaign.store.find(train_task(generation.name))
    if generation.stamp.mode == MODE or wanted == "torchscript" or trained is None or segments < 1:
        return generation
    graph, weights = swap.read_weights(campaign.store.root / trained.of(Trained).weights)
    mode: str = wanted
    why = "as configured"
    if wanted == "auto":
        mode, why = deploy.choose_mode(campaign, generation.name, graph, segments=segments)
    outputs = _known(frozen, generation)
    if outputs is None and mode == MODE:
        compiled = _compiled(campaign, frozen, graph, why)
        if compiled is not None:
            made = deploy.swap_into(
                frozen, generation.name, compiled, trained.outputs, graph, weights
            )
            outputs = None if made is None else _note(frozen, generation, made, why)
    if outputs is None:
        return generation
    return (
        _proved(campaign, frozen, _with(frozen, generation, outputs), trained.outputs) or generation
    )


def _inputs(generation: Generation) -> str:
    return hash_of("deploy", generation.checkpoint_hash)


def _known(frozen: Work, generation: Generation) -> Outputs | None:
    """What was deployed for the free energy before, if it runs on this machine."""
    record = frozen.store.done(deploy_task(generation.name), _inputs(generation))
    if record is None:
        return None
    found = record.of(DeployedModel)
    stamp = models.stamp_from_json(found.stamp)
    torch = str(frozen.engines.versions.get("torch"))
    if models.misfit(stamp, torch=torch, features=processor(), has_gpu=has_gpu()):
        return None
    check_file(frozen.store.root / found.file, found.sha256)
    return record.outputs


def _note(frozen: Work, generation: Generation, made: Outputs, why: str) -> Outputs:
    outputs = {**made, "why": why, "again": False}
    frozen.observer.say(
        f"generation {generation.name}: {MODE}, weights swapped in {made['seconds']:.2g} s ({why})"
    )
    frozen.note(
        *(deploy_task(generation.name), DEPLOY, 0, outputs),
        inputs=_inputs(generation),
        seconds=made["seconds"],
    )
    return outputs


def _with(frozen: Work, generation: Generation, outputs: Outputs) -> Generation:
    """The same generation, with the model that was deployed for the free energy."""
    return replace(
        generation,
        deployed=frozen.store.root / outputs["file"],
        stamp=models.stamp_from_json(outputs["stamp"]),
        deployed_hash=outputs["sha256"],
        unproved_graph=True,
    )


def _compiled(campaign: Work, frozen: Work, graph: str, why: str) -> Compiled | None:
    """A compilation of the network: the campaign's, the cache's, or one made now."""
    found = compile.find(campaign, MODE, graph) or compile.find(frozen, MODE, graph)
    network = _network(campaign)
    if found is not None or network is None or training_config.graph_of(network) != graph:
        return found
    cores = campaign.campaign.cores
    task = compile.task(frozen, 0, mode=MODE, graph=graph, network=network, cores=cores)
    frozen.observer.say(f"compiling once, a minute or two; it is kept for all to come ({why})")
    frozen.observer.begin(0, f"compile ({MODE})", 0, "networks")
    try:
        frozen.do([task])
    except EngineFailed as error:
        frozen.observer.say(f"not compiled, TorchScript walks instead: {error}")
    return compile.find(frozen, MODE, graph)


def _network(campaign: Work) -> Mapping[str, Any] | None:
    """The configuration of the network that all generations share."""
    first = campaign.store.find(train_task(0))
    if first is None:
        return None
    numbers = models.stored_statistics(first.of(Trained).statistics)
    settings = campaign.campaign.settings
    return training_config.network(
        campaign.campaign.types, settings=settings.model, numbers=numbers, seed=settings.seed
    )


def _proved(
    campaign: Work, frozen: Work, generation: Generation, trained: Outputs
) -> Generation | None:
    """The generation once its new model is proved in full; None, which is said, where it fails."""
    frozen.observer.begin(0, f"prove generation {generation.name}", 1, "jobs")
    probes = evaluate.probes_for(campaign, generation, trained)
    try:
        frozen.do([evaluate.proof_task(frozen, generation, probes)])
    except GateFailed as error:
        frozen.observer.say(f"{error}; the model that the campaign proved walks instead")
        return None
    return generation
