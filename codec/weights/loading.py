"""The weights of a codec: one safetensors file, named by the hash of its content.

The file holds the integer tables, the classes, the steps and the network; its metadata holds the
configuration as JSON. Nothing is pickled.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from underpaint.codec.entropy.activity import FEATURES, LARGEST_ACTIVITY, activity_reach
from underpaint.codec.entropy.significance import FLAG_FEATURES
from underpaint.codec.entropy.signs import SIGN_FEATURES
from underpaint.codec.entropy.tables import TOTAL, TableLayout, cumulative
from underpaint.codec.errors import WeightsDamaged
from underpaint.codec.limits import (
    MAX_EMBEDDING,
    MAX_HEAD_WIDTH,
    MAX_LAYERS,
    MAX_NETWORK_DEPTH,
    MAX_NETWORK_WIDTH,
    MAX_PALETTE_STEPS,
)
from underpaint.codec.palette.classes import TEXTURE_BANDS, TextureClasses
from underpaint.codec.palette.merging import MergeWeights
from underpaint.codec.palette.semantic_head import HEAD_INPUTS, SemanticHead
from underpaint.codec.quantize.cells import MOST_CHILDREN, Cells, chain, root
from underpaint.codec.quantize.quantizer import CENTROID_KINDS, Compander
from underpaint.codec.reconstruct.network import BackwardNetwork, NetworkShape
from underpaint.codec.transform.subbands import BANDS, FLAG_GROUPS
from underpaint.codec.transform.wavelet import LEVELS
from underpaint.codec.weights.header import (
    METADATA,
    PROFILES,
    WEIGHTS_FORMAT,
    content_id,
    fetch_weights,
    metadata,
)
from underpaint.codec.weights.header import SHIPPED as SHIPPED

MAX_WIDTH = 250
"""Widest cells of a chain: the 130 widths that its first state spans stay below 2**15."""

MAX_CLASSES = 1 << 12
"""Most texture classes of a codebook."""

MAX_LAW = 1 << 24
"""Laws stay below, so that activities fit 64 bits."""

_NETWORK = "network."

_UNREADABLE = (
    SafetensorError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a file that is none of ours may cause."""


@dataclass(frozen=True)
class LayerPlan:
    """What one layer of the stream holds: steps of the palette chain and of the scalar chain."""

    name: str
    palette_steps: int
    cell_steps: int


@dataclass(frozen=True)
class CodecConfig:
    """All that is decided before training.

    widths           cell widths of the scalar chain, coarsest first, in finest steps; a zero cell
                     reaches one step less than its state's width on either side
    layers           what each layer holds
    palette_budgets  most bits a position of the index map, for each palette state
    compander        how steps grow with magnitude
    merge            what counts when palette entries merge
    evidence         what a class's meaning counts against its texture: bits for a squared distance
                     of 1 between embeddings
    smoothing        price of a class border in the map, in bits of texture
    profile          what the weights were trained for
    """

    widths: tuple[int, ...]
    layers: tuple[LayerPlan, ...]
    palette_budgets: tuple[float, ...]
    compander: Compander
    merge: MergeWeights
    evidence: float
    smoothing: float
    profile: str

    @cached_property
    def chain(self) -> tuple[Cells, ...]:
        """The states of the scalar chain, the root (one cell holds all) first."""
        return root(self.widths[0]), *chain([(width - 1, width) for width in self.widths])

    @property
    def table_layout(self) -> TableLayout:
        """Where the tables of this configuration stand."""
        return TableLayout(len(self.palette_budgets), len(self.widths))


@dataclass(frozen=True)
class Weights:
    """Everything that `underpaint train` makes.

    steps        float32 [BANDS], finest quantisation steps, in units of orthonormal coefficients
    activity     int32 [S, BANDS, FEATURES]; flag_activity int32 [S, FLAG_GROUPS, FLAG_FEATURES]
    sign_weights int16 [S, BANDS, SIGN_FEATURES]
    frequencies  uint16 [tables, 5]
    centroids    float32 [S, 7, 2, 4]: see `latent.expected_places`
    """

    config: CodecConfig
    steps: np.ndarray
    classes: TextureClasses
    head: SemanticHead
    activity: np.ndarray
    flag_activity: np.ndarray
    sign_weights: np.ndarray
    frequencies: np.ndarray
    centroids: np.ndarray
    network: BackwardNetwork
    id: str = "0" * 16

    @cached_property
    def cumulative(self) -> np.ndarray:
        """The tables in the coder's form, uint32 [tables, 6]."""
        return cumulative(self.frequencies)


def _arrays(weights: Weights) -> dict[str, np.ndarray]:
    classes = weights.classes
    return {
        "steps": weights.steps,
        "classes.scale": classes.scale,
        "classes.law": classes.law,
        "classes.mask": classes.mask,
        "classes.embedding": classes.embedding,
        "semantics.widen": weights.head.widen,
        "semantics.narrow": weights.head.narrow,
        "semantics.skip": weights.head.skip,
        "activity": weights.activity,
        "flag_activity": weights.flag_activity,
        "sign_weights": weights.sign_weights,
        "frequencies": weights.frequencies,
        "centroids": weights.centroids,
    }


def pack_weights(weights: Weights) -> bytes:
    """Write weights as a safetensors file; the network in float16."""
    tensors = {name: torch.from_numpy(array) for name, array in _arrays(weights).items()}
    for name, tensor in weights.network.state_dict().items():
        tensors[_NETWORK + name] = tensor.detach().cpu().half().contiguous()
    config = {
        "format": WEIGHTS_FORMAT,
        "codec": asdict(weights.config),
        "network": asdict(weights.network.shape),
    }
    return save(tensors, {METADATA: json.dumps(config, sort_keys=True)})


def unpack_weights(data: bytes) -> Weights:
    """Read weights; raises WeightsDamaged if anything is missing or has a wrong shape."""
    try:
        tensors = load(data)
        found = metadata(data)
        codec = found["codec"]
        if unknown := codec.keys() - {field.name for field in fields(CodecConfig)}:
            raise WeightsDamaged(f"unknown configuration {', '.join(sorted(unknown))}")
        config = CodecConfig(
            widths=tuple(codec["widths"]),
            layers=tuple(LayerPlan(**layer) for layer in codec["layers"]),
            palette_budgets=tuple(codec["palette_budgets"]),
            compander=Compander(**codec["compander"]),
            merge=MergeWeights(**codec["merge"]),
            evidence=codec["evidence"],
            smoothing=codec["smoothing"],
            profile=codec["profile"],
        )
        _check_config(config)
        network = _network(NetworkShape(**found["network"]), tensors)
        array = {n: t.numpy() for n, t in tensors.items() if not n.startswith(_NETWORK)}
        classes, head = _classes_and_head(array)
        weights = Weights(
            config=config,
            steps=array["steps"],
            classes=classes,
            head=head,
            activity=array["activity"],
            flag_activity=array["flag_activity"],
            sign_weights=array["sign_weights"],
            frequencies=array["frequencies"],
            centroids=array["centroids"],
            network=network,
            id=content_id(data),
        )
        if unknown := array.keys() - _arrays(weights).keys():
            raise WeightsDamaged(f"unknown tensor {', '.join(sorted(unknown))}")
    except WeightsDamaged:
        raise
    except _UNREADABLE as error:
        raise _unreadable(error) from error
    _check_tensors(weights)
    return weights


def _classes_and_head(array: Mapping[str, np.ndarray]) -> tuple[TextureClasses, SemanticHead]:
    return (
        TextureClasses(
            *(array[f"classes.{name}"] for name in ("scale", "law", "mask", "embedding"))
        ),
        SemanticHead(*(array[f"semantics.{name}"] for name in ("widen", "narrow", "skip"))),
    )


def _unreadable(error: Exception) -> WeightsDamaged:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return WeightsDamaged(f"weights cannot be read: {reason}")


@dataclass(frozen=True)
class Learned:
    """What is learned rather than counted: the network, and the classes and head that it knows."""

    network: BackwardNetwork
    classes: TextureClasses
    head: SemanticHead


def unpack_learned(data: bytes) -> Learned:
    """Read what is learned, from this format or the one before, which differ in what is counted.

    Raises WeightsDamaged.
    """
    try:
        tensors = load(data)
        found = metadata(data, formats=(WEIGHTS_FORMAT - 1, WEIGHTS_FORMAT))
        network = _network(NetworkShape(**found["network"]), tensors)
        return Learned(network, *_classes_and_head({n: t.numpy() for n, t in tensors.items()}))
    except WeightsDamaged:
        raise
    except _UNREADABLE as error:
        raise _unreadable(error) from error


def _network(shape: NetworkShape, tensors: dict[str, torch.Tensor]) -> BackwardNetwork:
    """Build the network around its tensors; nothing of a size that only `shape` names is made."""
    for name, size in asdict(shape).items():
        most = MAX_NETWORK_DEPTH if name.endswith("_depth") else MAX_NETWORK_WIDTH
        if type(size) is not int or not 1 <= size <= most:
            raise WeightsDamaged(f"network: {name} is {size!r}, not 1 to {most}")
    network = BackwardNetwork.outline(shape)  # no memory yet: to hold against what the file has
    state = {n.removeprefix(_NETWORK): t for n, t in tensors.items() if n.startswith(_NETWORK)}
    expected = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    if state.keys() != expected.keys():
        wrong = min(state.keys() ^ expected.keys())
        raise WeightsDamaged(f"network: {wrong!r} is missing or unknown")
    for name, tensor in state.items():
        if tensor.dtype != torch.float16 or list(tensor.shape) != expected[name]:
            raise WeightsDamaged(
                f"network: {name} is {tensor.dtype} {list(tensor.shape)}, not float16 "
                f"{expected[name]}"
            )
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    return network.eval()


def _check_config(config: CodecConfig) -> None:
    """Raise WeightsDamaged unless the chain nests within int16 and each layer has what it needs."""
    widths, plans = config.widths, config.layers
    numbers = [*widths, *(n for plan in plans for n in (plan.palette_steps, plan.cell_steps))]
    if not widths or any(type(number) is not int for number in numbers):
        raise WeightsDamaged("widths and steps are not all integers")
    if not 1 <= widths[-1] <= widths[0] <= MAX_WIDTH:
        raise WeightsDamaged(f"cell widths {widths}")
    if any(coarse not in (2 * fine, 3 * fine) for coarse, fine in pairwise(widths)):
        raise WeightsDamaged(f"cell widths {widths} are not twice or three times the next")
    if not 1 <= len(plans) <= MAX_LAYERS or min(plans[0].palette_steps, plans[0].cell_steps) < 1:
        raise WeightsDamaged("the first layer needs a palette and cells")
    for plan in plans:
        if min(plan.palette_steps, plan.cell_steps) < 0:
            raise WeightsDamaged(f"layer {plan.name!r} has a negative number of steps")
    if len(config.palette_budgets) > MAX_PALETTE_STEPS:
        raise WeightsDamaged(f"{len(config.palette_budgets)} palette steps of {MAX_PALETTE_STEPS}")
    factors = (config.compander.knee, config.compander.power)
    if any(type(factor) not in (int, float) or not 0 < factor < math.inf for factor in factors):
        raise WeightsDamaged(f"a compander of {factors}")
    affinities = (*asdict(config.merge).values(), config.evidence)
    if any(type(value) not in (int, float) or not 0 <= value < math.inf for value in affinities):
        raise WeightsDamaged(f"affinities of {affinities}")
    if sum(plan.palette_steps for plan in plans) != len(config.palette_budgets):
        raise WeightsDamaged("the layers hold another number of palette steps than there are")
    if sum(plan.cell_steps for plan in plans) != len(widths):
        raise WeightsDamaged("the layers hold another number of cell steps than there are")


def _check_tensors(weights: Weights) -> None:
    """Raise WeightsDamaged unless tensors have their shapes and types, and tables their sums."""
    config, steps = weights.config, len(weights.config.widths)
    for name, matrix in (
        ("classes.embedding", weights.classes.embedding),
        ("semantics.narrow", weights.head.narrow),
    ):
        if matrix.ndim != 2:
            raise WeightsDamaged(f"{name} is no matrix")
    count, room = weights.classes.embedding.shape
    hidden = weights.head.narrow.shape[1]
    if not (1 <= room <= MAX_EMBEDDING and 1 <= hidden <= MAX_HEAD_WIDTH):
        raise WeightsDamaged(f"an embedding of {room} values, a head of {hidden} hidden units")
    expected: dict[str, tuple[type, tuple[int, ...]]] = {
        "steps": (np.float32, (BANDS,)),
        "classes.scale": (np.float32, (count, TEXTURE_BANDS)),
        "classes.law": (np.int32, (count, BANDS)),
        "classes.mask": (np.float32, (count,)),
        "classes.embedding": (np.float32, (count, room)),
        "semantics.widen": (np.float32, (hidden, HEAD_INPUTS + 1)),
        "semantics.narrow": (np.float32, (room, hidden)),
        "semantics.skip": (np.float32, (room, HEAD_INPUTS + 1)),
        "activity": (np.int32, (steps, BANDS, FEATURES)),
        "flag_activity": (np.int32, (steps, FLAG_GROUPS, FLAG_FEATURES)),
        "sign_weights": (np.int16, (steps, BANDS, SIGN_FEATURES)),
        "frequencies": (np.uint16, (config.table_layout.count, MOST_CHILDREN)),
        "centroids": (np.float32, (steps, LEVELS + 1, 2, CENTROID_KINDS)),
    }
    for name, array in _arrays(weights).items():
        kind, shape = expected[name]
        if array.dtype != kind or array.shape != shape:
            raise WeightsDamaged(
                f"{name} is {array.dtype} {list(array.shape)}, not {np.dtype(kind)} {list(shape)}"
            )
    for name, array in _arrays(weights).items():
        if array.dtype == np.float32 and not np.isfinite(array).all():
            raise WeightsDamaged(f"{name} is not finite")
    if not all(tensor.isfinite().all() for tensor in weights.network.state_dict().values()):
        raise WeightsDamaged("the network is not finite")
    if not 1 <= count <= MAX_CLASSES or weights.network.shape.classes != count:
        raise WeightsDamaged(f"{count} classes, a network for {weights.network.shape.classes}")
    if weights.network.shape.layers != len(config.layers):
        raise WeightsDamaged(
            f"a network for {weights.network.shape.layers} layers, not {len(config.layers)}"
        )
    if ((weights.classes.law < 0) | (weights.classes.law >= MAX_LAW)).any():
        raise WeightsDamaged(f"a class law is not within 0 and {MAX_LAW - 1}")
    reach = activity_reach(weights.activity, weights.classes.law, config.chain[0].zero)
    if (reach > LARGEST_ACTIVITY).any():
        raise WeightsDamaged("an activity may leave 32 bits")
    symbols = config.table_layout.symbols(config.chain)
    used = np.arange(MOST_CHILDREN) < symbols[:, None]
    sums = weights.frequencies.sum(1, dtype=np.int64)
    if ((weights.frequencies > 0) != used).any() or (sums != TOTAL * (symbols > 0)).any():
        raise WeightsDamaged("a frequency table does not add up")
    if (weights.frequencies[0, :2] != TOTAL // 2).any():
        raise WeightsDamaged("the table of plain bits is not even")


def matching(location: str | None, made_with: str) -> str | None:
    """Return where the weights are that read streams made with the weights of an id.

    That is `location` where one is given, else the profile in the package that has the id; None,
    for the default one, where none has.
    """
    if location is None:
        for profile, path in PROFILES.items():
            if content_id(path.read_bytes()) == made_with:
                return profile
    return location


def load_weights(path: str | None) -> Weights:
    """Load the weights that `fetch_weights` finds; raises as it and `unpack_weights` do."""
    return unpack_weights(fetch_weights(path))
