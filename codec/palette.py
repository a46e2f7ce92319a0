"""Markov palette diffusion: the palette of one image and its chain of merges.

The classes that an image really uses are its palette. The forward process merges two entries a
step, the pair that costs least; each state depends on the one before it alone, through a
deterministic transition matrix, so states nest. The backward process splits entries again: for
each parent its children, and for each position which child.

Source: Guo et al. 2023 (arXiv 2410.06149); the merge cost and the budget are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST_ENTRIES = 256
"""Most entries of one palette state."""


@dataclass(frozen=True)
class PaletteState:
    """One state of the chain.

    classes  int16 [n], the class of the codebook that stands for each entry
    labels   int16 [h, w], the entry of each position
    parents  int16 [n], the entry of the next coarser state that each entry merges into: its
             transition matrix has a one at (entry, parent). All zero in the coarsest state,
             whose parent is the single root. Entries are sorted by parent.
    """

    classes: np.ndarray
    labels: np.ndarray
    parents: np.ndarray

    @property
    def class_map(self) -> np.ndarray:
        """The class of each position, int16 [h, w]."""
        return self.classes[self.labels]

    @property
    def transition(self) -> np.ndarray:
        """The forward transition matrix, float32 [n, parents]: one 1 in each row."""
        matrix = np.zeros((len(self.parents), int(self.parents.max()) + 1), np.float32)
        matrix[np.arange(len(self.parents)), self.parents] = 1
        return matrix

    def starts(self) -> np.ndarray:
        """First child of each parent and an end mark, int64 [parents + 1]."""
        return np.searchsorted(self.parents, np.arange(int(self.parents.max()) + 2))


def map_bits(labels: np.ndarray, entries: int) -> float:
    """Estimate the bits of an index map: a literal where neither west nor north agrees."""
    west = np.zeros(labels.shape, bool)
    north = np.zeros(labels.shape, bool)
    west[:, 1:] = labels[:, 1:] == labels[:, :-1]
    north[1:] = labels[1:] == labels[:-1]
    literals = np.count_nonzero(~(west | north))
    unequal = np.count_nonzero(west != north)
    return literals * (1.5 + np.log2(max(entries, 1))) + unequal + 0.15 * labels.size


def _merge_once(counts: np.ndarray, classes: np.ndarray, distance: np.ndarray) -> tuple[int, int]:
    """Return the pair (kept, merged) whose merge costs least: count times distance lost."""
    cost = counts[:, None] * distance[np.ix_(classes, classes)]
    np.fill_diagonal(cost, np.inf)
    merged, kept = np.unravel_index(int(cost.argmin()), cost.shape)
    return int(kept), int(merged)


def diffuse(
    class_map: np.ndarray, distance: np.ndarray, budgets: tuple[float, ...]
) -> list[PaletteState]:
    """Run the forward process on one image; return its states at the budgets, coarsest first.

    `class_map` int [h, w] of codebook classes; `distance` float32 [K, K], the bits a position
    loses when class row stands in as class column; `budgets` the most bits a position that each
    state's map may take, coarsest first. How many entries a state keeps thus follows the image.
    """
    classes, labels = np.unique(class_map, return_inverse=True)
    labels = labels.reshape(class_map.shape)
    counts = np.bincount(labels.ravel()).astype(np.float64)
    states = []
    for budget in reversed(budgets):
        entry_of = np.arange(len(classes))
        alive = np.ones(len(classes), bool)
        current = labels
        while alive.sum() > 1 and (
            alive.sum() > MOST_ENTRIES
            or map_bits(current, int(alive.sum())) > budget * current.size
        ):
            living = np.flatnonzero(alive)
            kept, merged = _merge_once(counts[living], classes[living], distance)
            kept, merged = living[kept], living[merged]
            counts[kept] += counts[merged]
            alive[merged] = False
            entry_of[entry_of == merged] = kept
            current = entry_of[labels]
        living = np.flatnonzero(alive)
        parents = np.searchsorted(living, entry_of)
        states.append((classes, labels, parents))
        classes, labels, counts = classes[living], parents[labels], counts[living]
    return _sorted_states(classes, labels, states)


def _sorted_states(
    classes: np.ndarray, labels: np.ndarray, merges: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
) -> list[PaletteState]:
    """Turn the merges, finest first, into states whose entries are sorted by parent.

    The first merge of the list (from all used classes to the finest state kept) is forgotten:
    what it merged is never stored.
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
