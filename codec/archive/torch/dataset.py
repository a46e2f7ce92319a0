"""LayerDataset: an archive as a PyTorch data set that can stop and resume anywhere."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, SupportsIndex, Unpack, get_args

import torch
from torch.utils.data import IterableDataset

from underpaint.codec.archive.parquet.ranges import Traffic
from underpaint.codec.archive.reader import Archive
from underpaint.codec.archive.torch.collate import collate
from underpaint.codec.archive.torch.division import Division, Even
from underpaint.codec.archive.torch.loading import Loading, made
from underpaint.codec.archive.torch.mixed_samples import MixedMaker
from underpaint.codec.archive.torch.mixture import Mixture, shares_of
from underpaint.codec.archive.torch.options import SampleOptions, check_options, complete
from underpaint.codec.archive.torch.order import EpochOrder, Interval, Piece, union, without
from underpaint.codec.archive.torch.passes import Passes
from underpaint.codec.archive.torch.ranks import rank_place, worker_place
from underpaint.codec.archive.torch.samples import Sample
from underpaint.codec.archive.torch.state import ReaderState, gather
from underpaint.codec.arguments import as_count, as_integer, as_size, check_choice, check_flags
from underpaint.codec.errors import StateMismatch

WINDOW_BYTES = 64 << 20
"""Default size, in bytes of row groups, of a window whose rows are shuffled together."""

PREFETCH_BYTES = 64 << 20
"""Default number of bytes loaded ahead of use."""

EPOCH_STRIDE = 1 << 40
"""Difference of the "position" of an image in one epoch and of the image there in the next."""

MOST_SHOWN = 3
"""Most archives that a data set names in its description."""

Source = Archive | str | os.PathLike[str]
"""An open archive, a local path or an fsspec URL."""

Shuffle = Literal["windows", "full"]


class LayerDataset(IterableDataset[Sample]):
    """Images of an archive in shuffled order, each once an epoch, over ranks and workers.

        dataset = LayerDataset("gs://bucket/archive", layers=2, output="latent", seed=1)
        loader = DataLoader(dataset, batch_size=None, num_workers=4)      # or StatefulDataLoader

    A sample is a dict with "key" (str), "position" (int: its position in the epoch, plus 2**40
    times epoch), "labels" (dict, if the archive has any), "features" (float16 [size], the archive's
    embedding, if requested) and, depending on `output`:

    * "bytes": "layers", a tuple of bytes;
    * "latent": "class_map" int64 [h, w], "embedding" float32 [E, h, w], "coefficients" float32
      [C, h, w], with h = ceil(H / 16) and w = ceil(W / 16), without synthesis;
    * "image": "image" uint8 [3, H, W], sRGB, or smaller sides with `size`;
    * "pil": the same as a PIL.Image.

    With `batch_size`, batches come ready, as `collate` makes them: pictures and latents of several
    sizes are padded, with a mask. Give the loader `batch_size=None` then. Otherwise let it batch
    with `collate_fn=collate`, or it ends in "stack expects each tensor to be equal size".

    **Resuming.** `state_dict()` records the consumed positions of the epoch. `load_state_dict()`
    takes one such state, a list of the states of all ranks, or a StatefulDataLoader's state (or a
    list of them), and divides the rest among the present ranks and workers. Each image comes
    exactly once an epoch, even if the number of ranks or workers changes, and however often. With
    equal numbers each worker continues where it was, in the same order. A worker's progress counts
    where this object is iterated; with a plain DataLoader of several workers call
    `acknowledge(batch["position"])` in the training process, and save that process's
    `state_dict()`.

    **Epochs.** Iterating to the end and again starts the next epoch. Breaking off and iterating
    again restarts the same epoch, unless workers had read ahead to its end. `set_epoch` goes to any
    epoch, and settles the matter.

    **Ranks.** By default all ranks have equal numbers of samples, and of batches for any batch size
    and number of workers (equal on all ranks), so that no rank of a DistributedDataParallel job
    waits for another that has ended its epoch. Repeats that this takes have positions of their own,
    from the number of images on.

    Args:
        archive: an open archive, a local path or an fsspec URL; or a sequence of them. Samples of
            several have the layers (unless fewer are asked for) and the labels that all archives
            have, and "archive", the index of theirs.
        mix: proportions of several archives, for example [0.7, 0.3]. An epoch then ends when the
            first archive has given all of its images once; the next one goes on in the others where
            it stopped, so that each image of an archive comes once before any comes again. None:
            an epoch holds all images of all archives.
        seed: seed of the shuffle; None: the order of the archive.
        shuffle: "windows" reads row groups whole and in a random order, and shuffles the rows of
            some of them together. "full" is a random permutation of all images: each is read by its
            own byte ranges, one request a column of layers. See `docs/reading.md` for its cost.
        rank, world_size: of this process; by default those of torch.distributed, else of the
            environment variables RANK and WORLD_SIZE, which torchrun sets, else 0 of 1.
        even: "pad" repeats at most one image a rank, "drop" leaves out at most `world_size - 1`
            images of an epoch; with both, an image that `on_damage` reports is replaced by a repeat
            if there are several ranks. "uneven" gives each image once: some ranks may have a sample
            more than others, and any difference in batches.
        batch_size: samples of a batch, which are decoded together (None: single samples come). One
            batch of a rank's epoch may be smaller, and none is with …
        drop_last: … which leaves out the samples of that batch.
        window_bytes: bytes of row groups shuffled together. A worker's memory holds this much, …
        prefetch_bytes: … and this much loaded ahead by `threads` threads.
        decode_batch: images decoded at once, unless there is a `batch_size`.
        options: the content of samples: `layers`, `size`, `exact`, `fit`, `output`, `normalize`,
            `labels`, `label`, `columns`, `features`, `transform`, `weights`, `device`, `refine` and
            `on_damage`; and the images: `where`, `keys` and `limit`. See `SampleOptions`.
    """

    def __init__(
        self,
        archive: Source | Sequence[Source],
        *,
        mix: Sequence[float] | None = None,
        seed: int | None = 0,
        shuffle: Shuffle = "windows",
        rank: int | None = None,
        world_size: int | None = None,
        even: Even = "pad",
        batch_size: int | None = None,
        drop_last: bool = False,
        window_bytes: int = WINDOW_BYTES,
        prefetch_bytes: int = PREFETCH_BYTES,
        threads: int = 4,
        decode_batch: int = 16,
        **options: Unpack[SampleOptions],
    ) -> None:
        super().__init__()
        check_options(LayerDataset, options)
        whole = complete(options)
        check_choice("shuffle", shuffle, get_args(Shuffle))
        check_flags(drop_last=drop_last)
        batch_size = as_count("batch_size", batch_size)
        decode_batch, threads = as_size("decode_batch", decode_batch), as_size("threads", threads)
        window_bytes = as_size("window_bytes", window_bytes)
        prefetch_bytes = as_size("prefetch_bytes", prefetch_bytes, least=0)
        chosen: Iterable[Any] = [archive]
        if isinstance(archive, Iterable) and not isinstance(archive, Archive | str):
            chosen = archive
        self.archives = tuple(a if isinstance(a, Archive) else Archive.open(a) for a in chosen)
        self.rank, self.world_size = rank_place(rank, world_size)
        self._maker = maker = MixedMaker(self.archives, whole)
        images = [int(part.rows.sum()) for part in maker.makers]
        self._mixture = Mixture(maker.rows, maker.sizes, maker.ends, shares_of(images, mix))
        self._seed = None if seed is None else as_integer("seed", seed)
        self._window_bytes = None if shuffle == "full" else window_bytes
        self._loading = Loading(
            prefetch_bytes, threads, batch_size or decode_batch, batch_size is not None
        )
        self._division = Division(self.world_size, even, batch_size, drop_last)
        self._order_id = " ".join([self._order_of(shuffle), *self._division.notes])
        self._passes = Passes()
        self._followed = self._epoch = 0
        self._base: tuple[Interval, ...] = ()
        self._spread: tuple[Interval, ...] = ()
        self._consumed: list[Interval] = []
        self._open: Interval = (0, 0)
        self._resumed: ReaderState | None = None
        self._begun = False

    def __len__(self) -> int:
        """Return the number of samples, or batches, of this rank in a whole epoch."""
        return self._division.steps(len(self._mixture), self.rank)

    def __repr__(self) -> str:
        place = f"rank {self.rank} of {self.world_size}"
        roots = ", ".join(repr(archive.storage.root) for archive in self.archives[:MOST_SHOWN])
        if len(self.archives) > MOST_SHOWN:
            roots += f" and {len(self.archives) - MOST_SHOWN} more"
        return f"LayerDataset({roots}, {self._maker}, {place})"

    @property
    def epoch(self) -> int:
        """Number of the epoch that was set, loaded or started last in this process."""
        self._follow()
        return self._epoch

    @property
    def traffic(self) -> Traffic:
        """Bytes fetched and wanted by this process so far."""
        parts = [archive.traffic for archive in self.archives]
        return Traffic(
            sum(part.fetched for part in parts),
            sum(part.wanted for part in parts),
            sum(part.requests for part in parts),
        )

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch; no effect if the next pass is of that epoch anyway."""
        epoch = as_size("epoch", epoch, least=0)
        self._follow()
        if epoch != self._passes.epoch():
            self._passes.restart(epoch)
            self._followed = epoch
            self._restart(epoch)

    def acknowledge(
        self, positions: SupportsIndex | torch.Tensor | Iterable[SupportsIndex]
    ) -> None:
        """Count samples as consumed, by their "position", if workers iterated the data set.

        Raises UsageError for what cannot be a position.
        """
        if isinstance(positions, torch.Tensor):
            positions = positions.reshape(-1).tolist()
        given = positions if isinstance(positions, Iterable) else [positions]
        for at in [as_size("position", number, least=0) for number in given]:
            epoch, place = divmod(at, EPOCH_STRIDE)
            if self._resumed is not None and not self._begun:
                self._resume(self._resumed, 0)
                self._resumed = None
            again = any(start <= place < stop for start, stop in self._consumed)
            if epoch != self._epoch or again:  # the workers have started a new pass
                self._restart(epoch)
            self._consumed = union([*self._consumed, (place, place + 1)])

    def state_dict(self) -> dict[str, Any]:
        """Return the progress of this worker, or of this rank if there are no workers."""
        if self._resumed is not None and not self._begun:
            return self._resumed.as_dict()
        worker, workers = worker_place()
        return ReaderState(
            order=self._order_id,
            epoch=self._epoch,
            base=self._base,
            spread=self._spread,
            consumed=tuple(union([*self._consumed, self._open])),
            ranks=self.world_size,
            workers=workers,
            covers=((self.rank, worker if workers else -1),),
        ).as_dict()

    def load_state_dict(self, state: Mapping[str, Any] | Sequence[Any]) -> None:
        """Resume from one saved state or several: see the class. Raises StateMismatch."""
        loaded = gather(state)
        if loaded.order != self._order_id:
            raise StateMismatch(
                f"the state is of {loaded.order!r}, this reader of {self._order_id!r}"
            )
        whole = self._whole(loaded)
        epoch = loaded.epoch + 1 if whole else loaded.epoch
        worker, workers = worker_place()
        self._passes.restart(epoch, worker if workers else None)
        self._followed = epoch
        self._restart(epoch)
        self._resumed = None if whole else loaded

    def __iter__(self) -> Iterator[Sample]:
        """Yield the samples of this worker's share of the epoch."""
        self._follow()
        worker, workers = worker_place()
        order = self._begin(workers)
        share = without(self._division.shares(order, self._base)[self.rank], self._spread)
        mine = self._division.spread(share, max(workers, 1))[worker]
        return self._samples(order, without(mine, self._consumed))

    def _begin(self, workers: int) -> EpochOrder:
        """Determine epoch, base and consumed positions for a pass that starts now."""
        epoch = self._passes.begin(workers)
        if self._resumed is not None and epoch == self._resumed.epoch:
            self._resume(self._resumed, workers)
        else:
            self._restart(epoch)
        self._begun = True
        return self._order(self._epoch)

    def _resume(self, resumed: ReaderState, workers: int) -> None:
        """Adopt a state. With an equal number of ranks the shares stay, so this rank's state
        suffices.
        """
        same_ranks = resumed.ranks == self.world_size
        known = resumed.knows(self.rank)
        if resumed.workers == workers > 0:
            known = known or (self.rank, worker_place()[0]) in resumed.covers
        if not (known if same_ranks else resumed.complete):
            raise StateMismatch(
                f"the state covers {len(resumed.covers)} workers of {resumed.ranks} ranks of "
                f"{resumed.workers}: gather the states of all to go on with another number"
            )
        order = self._order(resumed.epoch)
        if same_ranks and resumed.complete:  # unless ranks were stopped after unequal steps
            same_ranks = self._division.balanced(order, resumed.base, resumed.consumed)
        self._epoch = resumed.epoch
        self._base = resumed.base if same_ranks else resumed.consumed
        same_workers = same_ranks and resumed.workers == workers
        self._spread = resumed.spread if same_workers else resumed.consumed
        self._consumed = list(resumed.consumed)
        self._open = (0, 0)

    def _whole(self, loaded: ReaderState) -> bool:
        """Return whether nothing is left of a state's epoch: for any rank if the state is of all,
        else for this one.
        """
        order = self._order(loaded.epoch)
        shares = replace(self._division, ranks=loaded.ranks).shares(order, loaded.base)
        if not loaded.complete:
            if loaded.ranks != self.world_size or not loaded.knows(self.rank):
                return False
            shares = [shares[self.rank]]
        return len(order) > 0 and not any(without(share, loaded.consumed) for share in shares)

    def _restart(self, epoch: int) -> None:
        self._epoch, self._base, self._spread = epoch, (), ()
        self._consumed, self._open = [], (0, 0)
        self._resumed = None
        self._begun = False

    def _follow(self) -> None:
        """Adopt the epoch that `set_epoch` set in the process that owns the loader."""
        if self._passes.first != self._followed:
            self._followed = self._passes.first
            self._restart(self._followed)

    def _order_of(self, shuffle: Shuffle) -> str:
        """Return a text that identifies the order of all epochs."""
        name = self._maker.identity
        if len(self.archives) > 1:
            name += f" {self._mixture.takes} an epoch"
        if self._seed is None:
            return f"{name} as stored"
        if shuffle == "full":
            return f"{name} seed {self._seed} full"
        columns = len(self._maker.makers[0].layer_columns)
        windows = f"windows of {self._window_bytes} bytes of {columns} columns"
        return f"{name} seed {self._seed} {windows}"

    def _order(self, epoch: int) -> EpochOrder:
        return EpochOrder(
            self._mixture, seed=self._seed, epoch=epoch, window_bytes=self._window_bytes
        )

    def _samples(self, order: EpochOrder, pieces: Sequence[Piece]) -> Iterator[Sample]:
        self._resumed = None
        generation = self._passes.generation
        size = self._division.batch_size
        batch: list[Sample] = []
        used: list[tuple[Piece, int]] = []  # up to the end of the batch
        for piece, stop, sample in self._filled(order, pieces):
            used.append((piece, stop))
            if sample is not None:
                sample["position"] += self._epoch * EPOCH_STRIDE
                batch.append(sample)
            if len(batch) == (size or 1):
                self._use(used)
                yield collate(batch) if size else batch[0]
                batch, used = [], []
        self._use(used)
        if batch and not self._division.drop_last:
            yield collate(batch)
        self._consumed = union([*self._consumed, self._open])
        self._open = (0, 0)
        self._passes.end(worker_place()[0], generation)

    def _use(self, used: Sequence[tuple[Piece, int]]) -> None:
        """Count pieces as consumed up to these positions."""
        for piece, stop in used:
            if self._open[0] != piece.start:
                self._consumed = union([*self._consumed, self._open])
            self._open = (piece.start, stop)

    def _filled(
        self, order: EpochOrder, pieces: Sequence[Piece]
    ) -> Iterator[tuple[Piece, int, Sample | None]]:
        """Yield samples, each with its piece and the position to which the piece is used up.

        If ranks must have equal numbers, a damaged image is replaced by the last intact one, or by
        the first. Otherwise None comes in its place.
        """
        spare: Sample | None = None
        owed: list[tuple[Piece, int]] = []
        for piece, positions, samples in made(self._maker, order, pieces, self._loading):
            intact = {sample["position"]: sample for sample in samples}
            for position in positions:
                sample = intact.get(position)
                if not self._division.equal:
                    yield piece, position + 1, sample
                    continue
                spare = sample or spare
                owed.append((piece, position))
                while spare is not None and owed:
                    where, at = owed.pop(0)
                    yield where, at + 1, {**spare, "position": at}
