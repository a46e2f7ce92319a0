"""The options that LayerDataset and LayerMap share: which images, and the content of samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import pyarrow.compute as pc

from underpaint.codec.archive.reader import OnDamage
from underpaint.codec.archive.torch.exact import Fit

Output = Literal["image", "latent", "bytes", "pil"]


class SampleArguments(TypedDict, total=False):
    """Types of the arguments that `LayerDataset` and `LayerMap` share, for type checkers."""

    layers: int | None
    size: int | None
    exact: tuple[int, int] | None
    fit: Fit
    output: Output
    normalize: bool
    where: pc.Expression | str | None
    keys: Sequence[str] | None
    labels: bool | Sequence[str]
    label: str | Callable[[dict[str, Any]], Any] | None
    columns: Sequence[str]
    features: bool
    transform: Callable[[Any], Any] | None
    weights: str | None
    device: str
    refine: bool
    on_damage: OnDamage | None


@dataclass(frozen=True)
class SampleOptions:
    """Images and content of the samples of a data set: what `LayerDataset` and `LayerMap` share.

    Args:
        layers: number of layers to fetch and decode (None: all).
        size: short side in pixels of the pictures to fetch and decode, as in `Codec.decode`: of the
            full picture and its halves, the smallest that reaches it (None: the largest there is).
        exact: height and width to which pictures are scaled, antialiased, so that samples form a
            batch. Unless `size` is given, only what these pictures need is read.
        fit: "crop" scales the centre of a picture with the proportions of `exact`, "stretch" all.
        output: content of a sample.
        normalize: whether the coefficients of latents have mean 0 and standard deviation 1 over
            photos, as in `Codec.latents`.
        where: only images for which a condition on small columns holds: an expression such as
            `pc.field("cls") == 3`, or a text such as "cls == 3", as on the command line. The
            columns that it names are read once, when the data set is made. Row groups without a
            chosen image are not fetched; of others the chosen ones, or all if that costs less.
        keys: only the images of these keys, in the order of the data set.
        labels: all label columns, none, or those named.
        label: name of a label column, or a function of the dict of labels: the sample then has its
            value or result as "label" in place of "labels".
        columns: further small columns, such as "width": a dict "columns" of the sample.
        features: whether samples hold the archive's embeddings.
        transform: a function of the content: of the picture, of the tuple of layers, or of a dict
            with the three tensors of latents. Its result replaces the content.
        weights, device: as in `Codec.load`; pictures stay on the device that decodes them.
        refine: whether pictures go through the backward network, as in `Codec.decode`: 0.2 to 0.3
            dB better, many times as slow on a CPU.
        on_damage: called with each `Damage`; the image is then left out. None: an error is raised.
    """

    layers: int | None = None
    size: int | None = None
    exact: tuple[int, int] | None = None
    fit: Fit = "crop"
    output: Output = "latent"
    normalize: bool = False
    where: pc.Expression | str | None = None
    keys: Sequence[str] | None = None
    labels: bool | Sequence[str] = True
    label: str | Callable[[dict[str, Any]], Any] | None = None
    columns: Sequence[str] = ()
    features: bool = False
    transform: Callable[[Any], Any] | None = None
    weights: str | None = None
    device: str = "cpu"
    refine: bool = False
    on_damage: OnDamage | None = None
