"""The layered Pentimento codec and its archive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codec.model import Codec, Latents

__all__ = ["Codec", "Latents"]


def __getattr__(name: str) -> Any:
    """Import the codec (and torch with it) at its first use: much of the package needs neither."""
    if name in __all__:
        from codec import model

        return getattr(model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
