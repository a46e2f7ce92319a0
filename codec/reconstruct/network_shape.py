"""Sizes of the backward network and shapes of its parameters, without torch.

`reconstruct.network` describes the network itself.
"""

from __future__ import annotations

from dataclasses import dataclass

COARSE_CHANNELS = 3 + 9 + 36
"""Low band at 1/16, level 4, level 3 folded 2 x 2."""

FINE_CHANNELS = 3 + 9 + 36
"""Low band at 1/4, level 2, level 1 folded 2 x 2."""

FINEST_REFINED = 3
"""Finest level of the coarse trunk: where finer ones are left out, it still estimates its own. A
picture without this level is not refined."""

LIGHT_SCALE = 1 / 1024

KERNEL = 5
"""Side of the depthwise convolutions."""


@dataclass(frozen=True)
class NetworkShape:
    """Sizes of the network, stored beside its weights."""

    classes: int
    layers: int
    coarse_width: int = 96
    coarse_hidden: int = 96
    coarse_depth: int = 2
    fine_width: int = 64
    fine_hidden: int = 64
    fine_depth: int = 4
    shared: int = 8
    embedding: int = 24

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each parameter of the network by its name."""
        coarse, fine = self.coarse_width, self.fine_width
        return {
            "class_embedding.weight": (self.classes, self.embedding),
            "coarse_state.weight": (self.layers, coarse),
            "fine_state.weight": (self.layers, fine),
            **_matrix("coarse_in", COARSE_CHANNELS + 3 + self.embedding, coarse),
            **_blocks("coarse", coarse, self.coarse_hidden, self.coarse_depth),
            **_matrix("coarse_out", coarse, COARSE_CHANNELS),
            **_matrix("share", coarse, 16 * self.shared),
            **_matrix("fine_in", FINE_CHANNELS + self.shared, fine),
            **_blocks("fine", fine, self.fine_hidden, self.fine_depth),
            **_matrix("fine_out", fine, FINE_CHANNELS),
        }


def _matrix(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _blocks(name: str, width: int, hidden: int, depth: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for number in range(depth):
        block = f"{name}.{number}"
        shapes |= {
            f"{block}.spatial.weight": (width, 1, KERNEL, KERNEL),
            f"{block}.spatial.bias": (width,),
            **_matrix(f"{block}.widen", width, hidden),
            f"{block}.narrow.weight": (width, hidden),
        }
    return shapes
