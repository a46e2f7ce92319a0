"""Features from networks of torchvision and timm: the input of their last linear layer.

Both libraries are optional. Weights are those that the library publishes under the name, or those
of a safetensors file for the same architecture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load

from underpaint.codec.errors import UsageError
from underpaint.codec.extractors.base import Preprocessing, checked_size, pooled, unit_length
from underpaint.codec.extractors.names import ExtractorName
from underpaint.codec.extractors.onnx_network import fetch_file
from underpaint.codec.storage.extras import install_hint


class TorchNetwork:
    """An extractor `torchvision:NAME` or `timm:NAME`, with `@FILE` or published weights."""

    def __init__(self, name: ExtractorName, device: str = "cpu") -> None:
        """Build the network and load its weights; raises as `open_extractor`."""
        make = {"torchvision": _torchvision, "timm": _timm}[name.kind]
        tensors = None
        if name.location:
            data = fetch_file(name)
            name = name.of(hashlib.sha256(data).hexdigest())
            try:
                tensors = load(data)
            except SafetensorError as error:
                raise UsageError(f"{name.location}: no safetensors file: {error}") from None
        network, self.preprocessing = make(name, tensors)
        self.name = str(name)
        self.identity = name.identity if tensors else name.of(_digest(network)).identity
        without_classifier(network)
        self._device = torch.device(device)
        self._network = network.to(self._device).eval()
        probe = self.preprocessing.probe()
        self.size = checked_size(self._run(probe), str(name))

    def features(self, fitted: np.ndarray) -> np.ndarray:
        """See `Extractor`."""
        return unit_length(self._run(fitted))

    @torch.inference_mode()
    def _run(self, fitted: np.ndarray) -> np.ndarray:
        array = torch.from_numpy(self.preprocessing.array(fitted)).to(self._device)
        found = self._network(array)
        if not isinstance(found, torch.Tensor):
            raise UsageError(f"{self.name}: gives no features but {type(found).__name__}")
        return pooled(found.float().cpu().numpy())


def without_classifier(network: torch.nn.Module) -> None:
    """Replace the last linear layer of a network by the identity."""
    linear = [n for n, module in network.named_modules() if isinstance(module, torch.nn.Linear)]
    if linear:
        parent, _, last = linear[-1].rpartition(".")
        setattr(network.get_submodule(parent), last, torch.nn.Identity())


def _torchvision(
    name: ExtractorName, tensors: Mapping[str, torch.Tensor] | None
) -> tuple[torch.nn.Module, Preprocessing]:
    models = _imported("torchvision", "torchvision.models")
    try:
        published = models.get_model_weights(name.network).DEFAULT
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None
    weights = None if tensors else published
    network = _made(name, lambda: models.get_model(name.network, weights=weights))
    if tensors:
        _fill(name, network, tensors)
    wants = published.transforms()
    (side,), (resized,) = wants.crop_size, wants.resize_size
    return network, _for_photos(side, side / resized, wants.mean, wants.std)


def _timm(
    name: ExtractorName, tensors: Mapping[str, torch.Tensor] | None
) -> tuple[torch.nn.Module, Preprocessing]:
    timm = _imported("timm", "timm")
    if not timm.is_model(name.network):
        raise UsageError(f"{name}: timm has no such network")
    network = _made(name, lambda: timm.create_model(name.network, pretrained=tensors is None))
    if tensors:
        _fill(name, network, tensors)
    wants = timm.data.resolve_model_data_config(network)
    return network, _for_photos(
        wants["input_size"][-1], wants["crop_pct"], wants["mean"], wants["std"]
    )


def _for_photos(side: int, crop: float, mean: Any, std: Any) -> Preprocessing:
    """Return the preprocessing for means and deviations in 0..1, as the libraries give them."""
    red, green, blue = (255.0 * value for value in mean)
    r, g, b = (255.0 * value for value in std)
    return Preprocessing(int(side), float(crop), (red, green, blue), (r, g, b))


def _imported(library: str, module: str) -> ModuleType:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        raise UsageError(f"{library} is not installed: {install_hint('extractors')}") from None
    except (RuntimeError, OSError) as error:  # torchvision built for another torch
        raise UsageError(f"{library} does not fit the torch that is installed: {error}") from error


def _made(name: ExtractorName, make: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    try:
        return make()
    except Exception as error:  # downloads and libraries raise what they like
        raise UsageError(
            f"{name}: {' '.join(str(error).split())} "
            f"(weights of your own: {name.kind}:{name.network}@FILE.safetensors)"
        ) from error


def _fill(
    name: ExtractorName, network: torch.nn.Module, tensors: Mapping[str, torch.Tensor]
) -> None:
    try:
        network.load_state_dict(dict(tensors))
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        reason = lines[1] if len(lines) > 1 else lines[0]
        raise UsageError(f"{name.location}: no weights of {name.network}: {reason}") from None


def _digest(network: torch.nn.Module) -> str:
    """Return the SHA-256 of all tensors, for weights that do not come from a file."""
    digest = hashlib.sha256()
    for key, tensor in sorted(network.state_dict().items()):
        digest.update(f"{key} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
