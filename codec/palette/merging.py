"""Markov palette diffusion: the palette of one picture and its chain of merges.

The palette of a picture is the set of classes that it uses. The forward process merges the two
entries with the least cost, step by step. Each state depends only on the one before it, through a
deterministic transition matrix, so states nest. The backward process splits the entries again: it
codes the children of each parent, and the child of each position.

The cost of a merge is measured on the picture: the bits lost when one class stands in for another,
and the distance of the two entries in texture, in meaning and, optionally, in colour.
`docs/experiments.md` shows a chain and its transition matrices.

Source: Guo et al. 2023 (arXiv 2410.06149); the merge cost and the budget are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from underpaint.codec.palette.classes import TEXTURE_BANDS
from underpaint.codec.transform.subbands import ORIENTATIONS

MOST_ENTRIES = 256
"""Most entries of one palette state."""


@dataclass(frozen=True)
class MergeWeights:
    """Weights of the terms in the cost of a merge; used by encoders only.

    latent    weight of each bit lost per position when coded with the other entry's class
    texture   weight of a squared distance of 1 between mean log energies, invariant to quarter
              turns and flips
    semantic  weight of a squared distance of 1 between mean embeddings (4 if they are opposite)
    colour    weight of a squared distance of 1 between mean colours, in units of 64 grey levels
    """

    latent: float
    texture: float
    semantic: float
    colour: float


def merge_descriptors(weights: MergeWeights, own: np.ndarray, embedded: np.ndarray) -> np.ndarray:
    """Return vectors whose squared distances are merge costs, float32 [h, w, D].

    `own` float32 [h, w, OWN_INPUTS], from `semantic_head.own_inputs`; `embedded` float32 [h, w, E],
    the embeddings.
    """
    parts = [
        (weights.texture, texture_descriptors(own[..., :TEXTURE_BANDS])),
        (weights.semantic, embedded),
        (weights.colour, own[..., TEXTURE_BANDS:]),
    ]
    weighted = [np.float32(weight**0.5) * part for weight, part in parts if weight]
    return np.concatenate([own[..., :0], *weighted], -1)


def texture_descriptors(logs: np.ndarray) -> np.ndarray:
    """Return descriptors of textures that are invariant to quarter turns, float32 [h, w, 36].

    `logs` float32 [h, w, 36], log energies of the bands. The two bands of a level that are
    high-pass along one axis are replaced by their mean and their absolute difference. A squared
    distance of 1 is a factor e in every band.
    """
    bands = logs.reshape(*logs.shape[:-1], -1, ORIENTATIONS)
    across, along, both = bands[..., 0], bands[..., 1], bands[..., 2]
    root = np.float32(0.5**0.5)
    parts = [(across + along) * root, np.abs(across - along) * root, both]
    return np.concatenate(parts, -1) / np.float32(TEXTURE_BANDS**0.5)


@dataclass(frozen=True)
class PaletteState:
    """One state of the chain.

    classes  int16 [n], texture class of each entry
    labels   int16 [h, w], entry of each position
    parents  int16 [n], entry of the next coarser state that each entry merges into: the transition
             matrix has a one at (entry, parent). All zero in the coarsest state, whose parent is
             the single root. Entries are sorted by parent.
    """

    classes: np.ndarray
    labels: np.ndarray
    parents: np.ndarray

    @cached_property
    def class_map(self) -> np.ndarray:
        """The class of each position, int16 [h, w]."""
        return self.classes.take(self.labels)

    @property
    def transition(self) -> np.ndarray:
        """The forward transition matrix, float32 [n, parents]: one 1 in each row."""
        matrix = np.zeros((len(self.parents), int(self.parents.max()) + 1), np.float32)
        matrix[np.arange(len(self.parents)), self.parents] = 1
        return matrix

    def starts(self) -> np.ndarray:
        """Return the first child of each parent, and the number of entries, int64 [parents + 1]."""
        return np.searchsorted(self.parents, np.arange(int(self.parents.max()) + 2))


def map_bits(labels: np.ndarray, entries: int) -> float:
    """Estimate the bits of an index map; a position costs most if west and north both differ."""
    west = np.zeros(labels.shape, bool)
    north = np.zeros(labels.shape, bool)
    west[:, 1:] = labels[:, 1:] == labels[:, :-1]
    north[1:] = labels[1:] == labels[:-1]
    literals = np.count_nonzero(~(west | north))
    unequal = np.count_nonzero(west != north)
    return literals * (1.5 + np.log2(max(entries, 1))) + unequal + 0.15 * labels.size


class _Merging:
    """The entries during merging: sizes, mean descriptors and the costs of all merges."""

    def __init__(
        self, classes: np.ndarray, labels: np.ndarray, distance: np.ndarray, fields: np.ndarray
    ) -> None:
        self.alive = np.ones(len(classes), bool)
        self._distance = distance[np.ix_(classes, classes)].astype(np.float64)
        self._counts = np.bincount(labels, minlength=len(classes)).astype(np.float64)
        self._means = np.zeros((len(classes), fields.shape[1]))
        for place, field in enumerate(fields.T):
            self._means[:, place] = np.bincount(labels, field, len(classes)) / self._counts
        self._cost = np.full(self._distance.shape, np.inf)
        for entry in range(len(classes)):
            self._price(entry)

    def _price(self, entry: int) -> None:
        """Update the costs of merging `entry` into every other one, and every other one into it."""
        apart = np.square(self._means - self._means[entry]).sum(1)
        for cost, counts, distance in (
            (self._cost[entry], self._counts[entry], self._distance[entry]),
            (self._cost[:, entry], self._counts, self._distance[:, entry]),
        ):
            cost[:] = np.where(self.alive, counts * (distance + apart), np.inf)
            cost[entry] = np.inf

    def merge(self) -> tuple[int, int]:
        """Merge the pair with the least cost; return (kept, merged)."""
        merged, kept = np.unravel_index(int(self._cost.argmin()), self._cost.shape)
        counts = self._counts[[kept, merged]]
        self._means[kept] = counts @ self._means[[kept, merged]] / counts.sum()
        self._counts[kept] += self._counts[merged]
        self.alive[merged] = False
        self._cost[merged] = self._cost[:, merged] = np.inf
        self._price(int(kept))
        return int(kept), int(merged)


def diffuse(
    class_map: np.ndarray,
    distance: np.ndarray,
    budgets: tuple[float, ...],
    descriptors: np.ndarray | None = None,
) -> list[PaletteState]:
    """Run the forward process on one picture; return its states, coarsest first.

    class_map    int [h, w], texture classes
    distance     float32 [K, K], cost per position when the class of the row becomes that of the
                 column
    budgets      most bits per position of each state's index map, coarsest first; they decide how
                 many entries a state keeps
    descriptors  float32 [h, w, D]; the squared distance between the means of two entries is added
                 to the cost

    Each merge takes the pair with the least cost times positions merged. It depends on the current
    entries only.
    """
    classes, labels = np.unique(class_map, return_inverse=True)
    labels = labels.reshape(class_map.shape)
    if descriptors is None:
        descriptors = np.zeros((*class_map.shape, 0), np.float32)
    merging = _Merging(classes, labels.ravel(), distance, descriptors.reshape(class_map.size, -1))
    entry_of, living, current = np.arange(len(classes)), np.arange(len(classes)), labels
    states = []
    for budget in reversed(budgets):
        finer, finer_labels = living, current
        while len(living) > 1 and (
            len(living) > MOST_ENTRIES or map_bits(current, len(living)) > budget * current.size
        ):
            kept, merged = merging.merge()
            entry_of[entry_of == merged] = kept
            current = entry_of[labels]
            living = np.flatnonzero(merging.alive)
        parents = np.searchsorted(living, entry_of[finer])
        states.append((classes[finer], _ranks(finer, len(classes))[finer_labels], parents))
    return _sorted_states(classes[living], _ranks(living, len(classes))[current], states)


def _ranks(living: np.ndarray, count: int) -> np.ndarray:
    """Return the rank of each of `count` entries among the living ones; 0 for the others."""
    ranks = np.zeros(count, np.int64)
    ranks[living] = np.arange(len(living))
    return ranks


def _sorted_states(
    classes: np.ndarray, labels: np.ndarray, merges: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
) -> list[PaletteState]:
    """Turn the merges, finest first, into states whose entries are sorted by parent.

    The first merge of the list, from all used classes to the finest state, is dropped: the entries
    that it merged are never stored.
    """
    states = [
        PaletteState(
            classes.astype(np.int16), labels.astype(np.int16), np.zeros(len(classes), np.int16)
        )
    ]
    rank = np.arange(len(classes))
    for finer_classes, finer_labels, parents in merges[:0:-1]:
        order = np.argsort(rank[parents], kind="stable")
        rank_here = np.argsort(order)
        states.append(
            PaletteState(
                finer_classes[order].astype(np.int16),
                rank_here[finer_labels].astype(np.int16),
                rank[parents][order].astype(np.int16),
            )
        )
        rank = rank_here
    return states
