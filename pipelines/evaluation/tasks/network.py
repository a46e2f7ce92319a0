"""An ONNX network as a function from one array to its outputs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from underpaint.codec.errors import UsageError
from underpaint.codec.extractors.onnx_network import open_session


class Network:
    """An ONNX network on the CPU, in one thread."""

    def __init__(self, path: Path) -> None:
        """Load a network; raises UsageError if onnxruntime cannot run the file."""
        try:
            data = path.read_bytes()
            self._session = open_session(data)
        except (OSError, UsageError) as error:
            raise UsageError(f"{path}: {error}") from error
        self.id = f"{path.name} {hashlib.sha256(data).hexdigest()[:16]}"
        self._input = self._session.get_inputs()[0]

    @property
    def input_shape(self) -> list[int]:
        """Shape of the input; variable dimensions are names."""
        return list(self._input.shape)

    def __call__(self, array: np.ndarray) -> list[np.ndarray]:
        """Return the outputs for one input of the shape and dtype of the network."""
        return list(self._session.run(None, {self._input.name: array}))
