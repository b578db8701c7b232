"""Laws of word2vec: words that are kept, drawn as negatives, and their paths in the Huffman tree."""

import heapq

import numpy as np


def keep_probabilities(counts: np.ndarray, threshold: float) -> np.ndarray:
    """Returns the probability (V,) that an occurrence of a word is kept: min(1, sqrt(t / f) + t / f), f its share.

    Deviation: the form of the authors' program. The paper has sqrt(t / f); 0 keeps all.

    Source: https://arxiv.org/abs/1310.4546, section 2.3.
    """
    if threshold == 0:
        return np.ones(len(counts))
    ratio = threshold * counts.sum() / counts
    return np.minimum(1.0, np.sqrt(ratio) + ratio)


def negative_probabilities(counts: np.ndarray, power: float) -> np.ndarray:
    """Returns the probability (V,) that a word is drawn as a negative: its count to a power, over the sum of all.

    Source: https://arxiv.org/abs/1310.4546, section 2.2.
    """
    weights = counts.astype(np.float64) ** power
    return weights / weights.sum()


def alias_table(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns a table from which one uniform number draws a word by its probability.

    A cell k of V is drawn; the word is k with the probability `thresholds[k]`, else `aliases[k]`.

    Source: Walker 1974; Vose, https://doi.org/10.1109/32.92917.

    Args:
        probabilities: (V,) floats of sum 1.

    Returns:
        thresholds (V,) float32 from 0 to 1, and aliases (V,) int32.
    """
    size = len(probabilities)
    thresholds = np.asarray(probabilities, np.float64) * size
    aliases = np.arange(size, dtype=np.int32)
    below = [k for k in range(size) if thresholds[k] < 1]
    above = [k for k in range(size) if thresholds[k] >= 1]
    while below and above:
        small, large = below.pop(), above[-1]
        aliases[small] = large
        thresholds[large] -= 1 - thresholds[small]
        if thresholds[large] < 1:
            below.append(above.pop())
    thresholds[[*below, *above]] = 1.0  # what is left differs from 1 by rounding alone
    return thresholds.astype(np.float32), aliases


def huffman_paths(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the path from the root to each word in the Huffman tree, in which frequent words have short paths.

    Args:
        counts: (V,) occurrences, V of 2 or more.

    Returns:
        nodes (V, L) int32 from 0, the root, to V - 2; and turns (V, L) int8: 1 for the one side, -1 for the other,
        0 behind the end of a path, where the node is 0.
    """
    size = len(counts)
    heap = [(int(count), word) for word, count in enumerate(counts)]
    heapq.heapify(heap)
    parents = np.zeros(2 * size - 1, np.int64)
    sides = np.zeros(2 * size - 1, np.int8)
    for node in range(size, 2 * size - 1):
        (low, left), (high, right) = heapq.heappop(heap), heapq.heappop(heap)
        parents[[left, right]] = node
        sides[[left, right]] = 1, -1
        heapq.heappush(heap, (low + high, node))
    root, paths = 2 * size - 2, []
    for word in range(size):
        path, place = [], word
        while place != root:
            path.append((root - parents[place], sides[place]))
            place = parents[place]
        paths.append(path[::-1])
    longest = max(map(len, paths))
    nodes, turns = np.zeros((size, longest), np.int32), np.zeros((size, longest), np.int8)
    for word, path in enumerate(paths):
        nodes[word, : len(path)], turns[word, : len(path)] = zip(*path, strict=True)
    return nodes, turns
