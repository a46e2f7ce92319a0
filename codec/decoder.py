"""Decoding of streams to states: colour rotation, palettes and cells, without reconstruction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from underpaint.codec.bitstream import (
    Frame,
    PictureHeader,
    complete_layers,
    picture_header,
    unpack_stream,
)
from underpaint.codec.entropy.coder import EntropyCoder
from underpaint.codec.entropy.state import CodedState, Workspace
from underpaint.codec.errors import LayerDamaged, WeightsMismatch
from underpaint.codec.runtime.threads import BATCH_PIXELS, batches, in_threads
from underpaint.codec.transform.sizes import FULL, Size
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

    def state(
        self,
        stream: Sequence[bytes],
        size: Size = FULL,
        workspace: Workspace | None = None,
    ) -> CodedState:
        """Decode any non-empty prefix of the layers of one picture, as far as a size needs them.

        Raises LayerDamaged, WeightsMismatch or UnknownVersion.
        """
        parts = unpack_stream(stream, lambda picture: _level(size, picture))
        header = parts.picture
        if header.weights_id != self._weights_id:
            raise WeightsMismatch(f"made with weights {header.weights_id}, not {self._weights_id}")
        if len(parts.layers) > self._layers:
            raise LayerDamaged(self._layers, "S11", f"a stream has at most {self._layers} layers")
        state = CodedState(
            geometry(header.height, header.width),
            finest=_level(size, header) + 1,
            workspace=workspace or Workspace(),
        )
        for layer in parts.layers:
            coarser = None
            for part in layer:
                finest = header.finest_level(part.size, part.last)
                self._decode(part, state, (coarser, finest))
                coarser = finest
        return state

    def _decode(self, part: Frame, state: CodedState, levels: tuple[int | None, int]) -> None:
        self._entropy.decode(part.payload, part.layer, state, levels)

    @contextmanager
    def borrowed_state(self, stream: Sequence[bytes], size: Size = FULL) -> Iterator[CodedState]:
        """Decode as `state` does, in reused memory: the state is cleared when the context ends."""
        try:
            workspace = self._workspaces.pop()
        except IndexError:
            workspace = Workspace()
        state = self.state(stream, size, workspace)
        yield state
        state.clear()
        if workspace.coefficients.size <= WORKSPACE_KEPT:
            self._workspaces.append(workspace)

    def states(self, streams: Sequence[Sequence[bytes]], size: Size = FULL) -> States:
        """Return the states of streams, which are decoded when a backend asks for them."""
        return States(self, streams, size)


class States:
    """States that are decoded on demand, so that few of them are in memory at once.

    Both methods raise what `Decoder.state` does.
    """

    def __init__(self, decoder: Decoder, streams: Sequence[Sequence[bytes]], size: Size) -> None:
        self._decoder, self._streams, self._size = decoder, streams, size

    def map(self, function: Callable[[CodedState], Result]) -> list[Result]:
        """Apply a function to each state, in threads; it must not keep the state's arrays."""

        def decoded(stream: Sequence[bytes]) -> Result:
            with self._decoder.borrowed_state(stream, self._size) as state:
                return function(state)

        return in_threads(decoded, self._streams)

    def map_batches(
        self,
        function: Callable[[list[CodedState]], Sequence[Result]],
        most_pixels: int = BATCH_PIXELS,
    ) -> list[Result]:
        """Apply a function to batches of states of one padded shape, size and number of layers.

        A batch has at most `most_pixels` padded pixels, or one picture. The function returns one
        result for each state; they are returned in the order of the streams.
        """
        headers = [picture_header(stream) for stream in self._streams]
        levels = [_level(self._size, header) for header in headers]
        kinds = [
            (level, complete_layers(stream, level))
            for level, stream in zip(levels, self._streams, strict=True)
        ]
        shapes = [(header.height, header.width) for header in headers]
        results: dict[int, Result] = {}
        for batch in batches(shapes, kinds, most_pixels):
            states = in_threads(
                lambda stream: self._decoder.state(stream, self._size),
                [self._streams[i] for i in batch],
            )
            results.update(zip(batch, function(states), strict=True))
        return [results[i] for i in range(len(shapes))]


def _level(size: Size, picture: PictureHeader) -> int:
    return size.level_of(picture.height, picture.width)
