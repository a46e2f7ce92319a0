"""Codecs in use by a process: each set of weights is loaded once, whichever thread asks first."""

from __future__ import annotations

import threading

from underpaint.codec.codec import Codec


class Codecs:
    """Loads codecs by the name of their weights, or by the id that a stream carries."""

    def __init__(self, device: str = "cpu") -> None:
        self._device = device
        self._lock = threading.Lock()
        self._by_name: dict[str | None, Codec] = {}
        self._by_id: dict[str, Codec] = {}

    def named(self, weights: str | None) -> Codec:
        """Return the codec of a profile name, path or URL; None is the default profile.

        Raises as `Codec.load`.
        """
        with self._lock:
            if weights not in self._by_name:
                codec = Codec.load(weights, device=self._device)
                self._by_name[weights] = codec
                self._by_id.setdefault(codec.weights_id, codec)
            return self._by_name[weights]

    def reading(self, weights_id: str) -> Codec:
        """Return the codec of the weights with this id.

        They must be a profile, or have been loaded by `named`. Raises WeightsMismatch.
        """
        with self._lock:
            if weights_id not in self._by_id:
                self._by_id[weights_id] = Codec.load_for(weights_id, device=self._device)
            return self._by_id[weights_id]


SHARED = Codecs()
"""The codecs of the process on the CPU."""
