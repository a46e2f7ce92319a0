"""Decoding of streams to states: colour rotation, palettes and cells, without reconstruction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from underpaint.codec.bitstream import unpack_stream
from underpaint.codec.entropy.coder import EntropyCoder
from underpaint.codec.entropy.state import CodedState, Workspace
from underpaint.codec.errors import LayerDamaged, WeightsMismatch
from underpaint.codec.runtime.threads import BATCH_PIXELS, batches, in_threads
from underpaint.codec.transform.subbands import geometry
from underpaint.codec.weights.model import Weights

WORKSPACE_KEPT = 1 << 25
"""Most coefficients and magnitudes that a workspace holds and is still reused (64 MiB)."""

Result = TypeVar("Result")


class Decoder:
    """Decodes streams with one set of weights; several threads may use it at once."""

    def __init__(self, weights: Weights) -> None:
        self._weights_id = weights.id
        self._layers = len(weights.config.layers)
        self._entropy = EntropyCoder(weights)
        self._workspaces: list[Workspace] = []

    def state(self, stream: Sequence[bytes], workspace: Workspace | None = None) -> CodedState:
        """Decode any non-empty prefix of the layers of one picture.

        Raises LayerDamaged, WeightsMismatch or UnknownVersion.
        """
        layers = unpack_stream(stream)
        header = layers[0].picture
        if header is None:
            raise LayerDamaged(0, "S9", "names no picture")
        if header.weights_id != self._weights_id:
            raise WeightsMismatch(f"made with weights {header.weights_id}, not {self._weights_id}")
        if len(layers) > self._layers:
            raise LayerDamaged(self._layers, "S11", f"a stream has at most {self._layers} layers")
        state = CodedState(
            geometry(header.height, header.width), workspace=workspace or Workspace()
        )
        for layer in layers:
            self._entropy.decode(layer.payload, layer.symbols, layer.index, state)
        return state

    @contextmanager
    def borrowed_state(self, stream: Sequence[bytes]) -> Iterator[CodedState]:
        """Decode as `state` does, in reused memory: the state is cleared when the context ends."""
        try:
            workspace = self._workspaces.pop()
        except IndexError:
            workspace = Workspace()
        state = self.state(stream, workspace)
        yield state
        state.clear()
        if workspace.coefficients.size <= WORKSPACE_KEPT:
            self._workspaces.append(workspace)

    def states(self, streams: Sequence[Sequence[bytes]]) -> States:
        """Return the states of streams, which are decoded when a backend asks for them."""
        return States(self, streams)


class States:
    """States that are decoded on demand, so that few of them are in memory at once.

    Both methods raise what `Decoder.state` does.
    """

    def __init__(self, decoder: Decoder, streams: Sequence[Sequence[bytes]]) -> None:
        self._decoder, self._streams = decoder, streams

    def map(self, function: Callable[[CodedState], Result]) -> list[Result]:
        """Apply a function to each state, in threads; it must not keep the state's arrays."""

        def decoded(stream: Sequence[bytes]) -> Result:
            with self._decoder.borrowed_state(stream) as state:
                return function(state)

        return in_threads(decoded, self._streams)

    def map_batches(
        self,
        function: Callable[[list[CodedState]], Sequence[Result]],
        most_pixels: int = BATCH_PIXELS,
    ) -> list[Result]:
        """Apply a function to batches of states of one padded size and one number of layers.

        A batch has at most `most_pixels` padded pixels, or one picture. The function returns one
        result for each state; they are returned in the order of the streams.
        """
        shapes = []
        for stream in self._streams:
            header = unpack_stream(stream[:1])[0].picture
            shapes.append((header.height, header.width) if header else (1, 1))
        results: dict[int, Result] = {}
        for batch in batches(shapes, [len(stream) for stream in self._streams], most_pixels):
            states = in_threads(self._decoder.state, [self._streams[i] for i in batch])
            results.update(zip(batch, function(states), strict=True))
        return [results[i] for i in range(len(shapes))]
