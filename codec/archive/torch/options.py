"""The options that all data sets and loaders share: which images, and the content of samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import Parameter, signature
from typing import Any, Literal, TypedDict, get_args

from underpaint.codec.archive.conditions import Where
from underpaint.codec.archive.salvage import OnDamage
from underpaint.codec.archive.torch.exact import Fit
from underpaint.codec.arguments import (
    as_count,
    as_location,
    as_names,
    as_size,
    check_choice,
    check_flags,
    check_function,
    check_keywords,
)
from underpaint.codec.errors import UsageError
from underpaint.codec.limits import MAX_PIXELS, MAX_SIDE

Output = Literal["image", "latent", "bytes", "pil"]


class SampleOptions(TypedDict, total=False):
    """Keywords of `LayerDataset`, `LayerMap` and the loaders: images, and content of samples.

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
        where: only images for which a condition on small columns holds: a text such as "cls == 3",
            as on the command line, or an expression such as `pc.field("cls") == 3`. The
            columns that it names are read once, when the data set is made. Row groups without a
            chosen image are not fetched; of others the chosen ones, or all if that costs less.
        keys: only the images of these keys, in the order of the data set.
        limit: only so many images of an archive, the first of those that `where` and `keys` choose.
        labels: all label columns, none, or those named.
        label: name of a label column, or a function of the dict of labels: the sample then has its
            value or result as "label" in place of "labels".
        columns: further small columns, such as "width": a dict "columns" of the sample.
        features: whether samples hold the archive's embeddings.
        transform: a function of the content: of the picture, of the tuple of layers, or of a dict
            with the three tensors of latents. Its result replaces the content.
        weights, device: as in `Codec.load`; the weights must be those that made the archive (None:
            found by their id). Pictures stay on the device that decodes them.
        refine: whether pictures go through the backward network, as in `Codec.decode`: 0.2 to 0.3
            dB better, many times as slow on a CPU.
        on_damage: called with each `Damage`; the image is then left out. None: an error is raised.
    """

    layers: int | None
    size: int | None
    exact: tuple[int, int] | None
    fit: Fit
    output: Output
    normalize: bool
    where: Where | None
    keys: str | Iterable[str] | None
    limit: int | None
    labels: bool | str | Iterable[str]
    label: str | Callable[[dict[str, Any]], Any] | None
    columns: str | Iterable[str]
    features: bool
    transform: Callable[[Any], Any] | None
    weights: str | None
    device: str
    refine: bool
    on_damage: OnDamage | None


DEFAULTS = SampleOptions(
    layers=None,
    size=None,
    exact=None,
    fit="crop",
    output="latent",
    normalize=False,
    where=None,
    keys=None,
    limit=None,
    labels=True,
    label=None,
    columns=(),
    features=False,
    transform=None,
    weights=None,
    device="cpu",
    refine=False,
    on_damage=None,
)
"""Values of the options that are not given."""


def check_options(function: Callable[..., Any], options: SampleOptions) -> None:
    """Raise TypeError for an option that does not exist; it names the nearest argument.

    `function` is what the user called.
    """
    own = signature(function).parameters.values()
    arguments = [one.name for one in own if one.kind is not Parameter.VAR_KEYWORD]
    check_keywords(function.__name__, options, [*arguments, *DEFAULTS])


def complete(options: SampleOptions) -> SampleOptions:
    """Return checked options with the defaults of those that are not given.

    Lists of names come as tuples, and counts as integers. Raises UsageError for a value that an
    option cannot have, and for options that do not fit each other.
    """
    whole: SampleOptions = {**DEFAULTS, **options}
    whole["layers"] = as_count("layers", whole["layers"])
    whole["size"] = as_count("size", whole["size"])
    whole["limit"] = as_count("limit", whole["limit"])
    whole["weights"] = as_location("weights", whole["weights"])
    check_choice("fit", whole["fit"], get_args(Fit))
    check_choice("output", whole["output"], get_args(Output))
    check_flags(normalize=whole["normalize"], features=whole["features"], refine=whole["refine"])
    check_function("transform", whole["transform"])
    check_function("on_damage", whole["on_damage"])
    if not isinstance(whole["label"], str):
        check_function("label", whole["label"])
    whole["columns"] = as_names("columns", whole["columns"])
    if whole["keys"] is not None:
        whole["keys"] = as_names("keys", whole["keys"])
    if not isinstance(whole["labels"], bool):
        whole["labels"] = as_names("labels", whole["labels"])
    whole["exact"] = _shape(whole["exact"])
    _check_output(whole)
    return whole


def _shape(exact: Any) -> tuple[int, int] | None:
    if exact is None:
        return None
    try:
        height, width = exact
    except (TypeError, ValueError):
        raise UsageError(f"exact: want a height and a width, not {exact!r}") from None
    shape = as_size("exact", height), as_size("exact", width)
    if max(shape) > MAX_SIDE or shape[0] * shape[1] > MAX_PIXELS:
        raise UsageError(
            f"exact: {shape}; a picture has sides of at most {MAX_SIDE:,} pixels, and at most "
            f"{MAX_PIXELS:,} pixels"
        )
    return shape


def _check_output(options: SampleOptions) -> None:
    """Raise UsageError for options that have no effect on the content of samples."""
    from underpaint.codec.codec import parsed_device

    parsed_device(options["device"])
    if options["normalize"] and options["output"] != "latent":
        raise UsageError('normalize: only latents are normalised, with output="latent"')
    pictures = options["output"] in ("image", "pil")
    if options["refine"] and not pictures:
        raise UsageError('refine: only pictures are refined, with output="image" or "pil"')
    if options["exact"] is not None and not pictures:
        raise UsageError('exact: an exact shape needs output="image" or "pil"')
