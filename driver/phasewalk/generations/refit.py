"""Deploy a generation for a free energy in the mode with the shorter total time.

A free energy needs many segments. If the campaign has the generation in the faster mode, which it
makes of its last model, that is used. Otherwise, if a compilation of the same network exists or
saves time, the weights of the generation are written into it, and the model is validated in full
before walkers use it.
"""

from dataclasses import replace

from .. import models
from ..campaign import Outputs, Work
from ..errors import GateFailed
from ..files import check_file, hash_of
from ..models import swap, training_config
from ..store import DEPLOY, DeployedModel, Trained, deploy_task, train_task
from . import compile, deploy, evaluate, forms, ranks
from .compile import Compiled
from .deploy import Generation

MODE = "aotinductor"


def refit(campaign: Work, frozen: Work, generation: Generation, segments: int) -> Generation:
    """The generation in the best mode for the remaining segments; unchanged if there is no gain.

    It is also made ready for the ranks of the walkers.

    Args:
        campaign: campaign of the generation; its store is only read.
        frozen: the free energy, in whose store the deployed model is saved.
        generation: the generation.
        segments: number of remaining segments.
    """
    if segments < 1:
        return generation
    return ranks.ready(frozen, _refit(campaign, frozen, generation, segments), campaign)


def _refit(campaign: Work, frozen: Work, generation: Generation, segments: int) -> Generation:
    wanted = campaign.campaign.settings.deploy.mode
    trained = campaign.store.find(train_task(generation.name))
    if generation.stamp.mode == MODE or wanted == "torchscript" or trained is None:
        return generation
    if (own := forms.in_mode(campaign, generation, MODE)) is not None:
        return own
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
    """The model that was deployed for the free energy before, if it can run now."""
    record = frozen.store.done(deploy_task(generation.name), _inputs(generation))
    if record is None:
        return None
    found = record.of(DeployedModel)
    stamp = models.stamp_from_json(found.stamp)
    if models.misfit(stamp, frozen.engines.machine):
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
    """The generation with the model that was deployed for the free energy."""
    return replace(
        generation,
        deployed=frozen.store.root / outputs["file"],
        stamp=models.stamp_from_json(outputs["stamp"]),
        deployed_hash=outputs["sha256"],
        unproved_graph=True,
    )


def _compiled(campaign: Work, frozen: Work, graph: str, why: str) -> Compiled | None:
    """A compilation of the network: of the campaign, of the cache, or a new one."""
    found = compile.find(campaign, MODE, graph) or compile.find(frozen, MODE, graph)
    network = forms.network(campaign)
    if found is not None or network is None or training_config.graph_of(network) != graph:
        return found
    frozen.observer.say(
        f"compiling the network, which takes a minute or two and is cached for later use ({why})"
    )
    made = compile.make(frozen, 0, mode=MODE, network=network)
    if failed := compile.failure(frozen, MODE, graph):
        frozen.observer.say(f"compilation failed, TorchScript is used instead: {failed}")
    return made


def _proved(
    campaign: Work, frozen: Work, generation: Generation, trained: Outputs
) -> Generation | None:
    """The generation after full validation of its new model; None, with a message, if it failed."""
    frozen.observer.begin(0, f"prove generation {generation.name}", 1, "jobs")
    probes = evaluate.probes_for(campaign, generation, trained)
    try:
        frozen.do([evaluate.proof_task(frozen, generation, probes)])
    except GateFailed as error:
        frozen.observer.say(f"{error}; the model that the campaign validated is used instead")
        return None
    return generation
