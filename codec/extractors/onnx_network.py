"""Features from any tensor of an ONNX file, computed by onnxruntime."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from underpaint.codec.errors import UsageError
from underpaint.codec.extractors.base import Preprocessing, checked_size, pooled, unit_length
from underpaint.codec.extractors.names import ExtractorName
from underpaint.codec.storage.download import fetch
from underpaint.codec.storage.extras import install_hint

if TYPE_CHECKING:
    import onnxruntime

OPTIONS = frozenset({"output", "size", "mean", "std", "order", "layout", "crop", "output_layout"})

_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}

_GRAPH, _OUTPUT, _NAME = 7, 12, 1
"""Fields of ONNX: ModelProto.graph, GraphProto.output, ValueInfoProto.name."""


def open_session(data: bytes, device: str = "cpu") -> onnxruntime.InferenceSession:
    """Open a session with one thread on the CPU, or on CUDA if onnxruntime was built for it.

    Raises UsageError if onnxruntime is missing or cannot run the network.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UsageError(f"ONNX networks need onnxruntime: {install_hint('extractors')}") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    if (
        device.startswith("cuda")
        and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    ):
        providers.insert(0, "CUDAExecutionProvider")
    try:
        return onnxruntime.InferenceSession(data, options, providers=providers)
    except Exception as error:  # onnxruntime's errors share no class of their own
        raise UsageError(str(error).splitlines()[0]) from error


def with_output(model: bytes, tensor: str) -> bytes:
    """Return an ONNX file with one more output, any tensor of its graph.

    Protocol Buffers merge concatenated messages and append repeated fields, so the output is
    written after the end of the file.

    Source: the encoding guide of Protocol Buffers, "Last One Wins" and merging of messages.
    """
    value = _field(_NAME, tensor.encode())
    return model + _field(_GRAPH, _field(_OUTPUT, value))


def _field(number: int, content: bytes) -> bytes:
    """Return a length-delimited field."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


class OnnxNetwork:
    """An extractor from an ONNX file with one picture as its input."""

    def __init__(self, name: ExtractorName, device: str = "cpu") -> None:
        """Fetch and open the file; raises as `open_extractor`."""
        unknown = set(name.options) - OPTIONS
        if unknown:
            raise UsageError(f"{name}: no option {min(unknown)!r}")
        data = fetch_file(name)
        name = name.of(hashlib.sha256(data).hexdigest())
        self.name, self.identity = str(name), name.identity
        output = name.options.get("output")
        try:
            session = open_session(data, device)
            if output and output not in {each.name for each in session.get_outputs()}:
                session = open_session(with_output(data, output), device)
        except UsageError as error:
            raise UsageError(f"{name.location}: {error}") from error
        if len(session.get_inputs()) != 1:
            raise UsageError(f"{name.location}: {len(session.get_inputs())} inputs, not one")
        self._session = session
        self._output = output or session.get_outputs()[0].name
        self._output_layout = _layout(name, "output_layout") or "nchw"
        self._input = session.get_inputs()[0]
        if self._input.type not in _DTYPES or len(self._input.shape) != 4:
            raise UsageError(
                f"{name.location}: wants {self._input.type} {self._input.shape}, no pictures"
            )
        self._dtype = _DTYPES[self._input.type]
        self._batch = _fixed(self._input.shape[0])
        self.preprocessing = _preprocessing(name, self._input.shape)
        probe = self.preprocessing.probe()
        self.size = checked_size(self._run(probe), name.location)

    def features(self, fitted: np.ndarray) -> np.ndarray:
        """See `Extractor`."""
        return unit_length(self._run(fitted))

    def _run(self, fitted: np.ndarray) -> np.ndarray:
        array = self.preprocessing.array(fitted).astype(self._dtype)
        step = self._batch or max(1, len(array))
        parts = []
        for first in range(0, len(array), step):
            part = array[first : first + step]
            short = step - len(part)
            if short and self._batch:  # the network takes exactly so many
                part = np.concatenate([part, np.zeros_like(part[:1]).repeat(short, 0)])
            (found,) = self._session.run([self._output], {self._input.name: part})
            vectors = pooled(cast(np.ndarray, found), self._output_layout)
            parts.append(vectors[: len(part) - short] if self._batch else vectors)
        return np.concatenate(parts)


def fetch_file(name: ExtractorName) -> bytes:
    """Return the file of a name; raises UsageError if there is none, and ChecksumMismatch."""
    try:
        return fetch(name.address)
    except FileNotFoundError:
        raise UsageError(f"no network at {name.location}") from None


def _fixed(size: Any) -> int | None:
    return size if isinstance(size, int) and size > 0 else None


def _layout(name: ExtractorName, option: str) -> str | None:
    given = name.options.get(option)
    if given not in (None, "nchw", "nhwc"):
        raise UsageError(f"{name}: {option} is nchw or nhwc")
    return given


def _preprocessing(name: ExtractorName, shape: list[Any]) -> Preprocessing:
    """Return the preprocessing from the options of the name and the shape of the input."""
    options = name.options
    layout = _layout(name, "layout") or ("nhwc" if shape[3] == 3 and shape[1] != 3 else "nchw")
    sides = [_fixed(size) for size in (shape[1:3] if layout == "nhwc" else shape[2:4])]
    if sides[0] != sides[1]:
        raise UsageError(f"{name.location}: sees {sides[0]} x {sides[1]} pixels, no square")
    if options.get("order", "rgb") not in ("rgb", "bgr"):
        raise UsageError(f"{name}: order is rgb or bgr")
    made = Preprocessing(layout=layout, order=options.get("order", "rgb"))  # type: ignore[arg-type]
    try:
        side = int(options.get("size", sides[0] or made.side))
        crop = float(options.get("crop", made.crop or 0))
        mean = _three(options.get("mean"), made.mean)
        std = _three(options.get("std"), made.std)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None
    if sides[0] not in (None, side) or not 1 <= side <= 4096:
        raise UsageError(f"{name}: size={side}, but the network sees {sides[0]}")
    if not 0 <= crop <= 1 or min(std) <= 0:
        raise UsageError(f"{name}: crop is 0 to 1, std above 0")
    return replace(made, side=side, crop=crop or None, mean=mean, std=std)


def _three(text: str | None, default: tuple[float, float, float]) -> tuple[float, float, float]:
    if text is None:
        return default
    red, green, blue = map(float, text.split(","))
    return red, green, blue
