"""Vectors of a net: what its head takes, projected to the plane, and the examples nearest to another."""

from typing import Any

import keras
import numpy as np

from kerasdl.core import checks

from .coalitions import checked_inputs
from .targets import network_of, refuse_raw

METHODS = ("pca", "tsne", "umap")
MEASURES = ("cosine", "euclidean")
CHUNK = 256


def vectors_before_head(model: Any, inputs: Any) -> np.ndarray:
    """Returns the vectors that the last layer with weights takes: what a net knows of each example.

    Args:
        model: a functional `keras.Model` of one input and one output, or a bundle of one.
        inputs: (B, ...), prepared as the model takes them.

    Returns:
        (B, D) float32.

    Raises:
        ArgumentError: the last layer with weights is no dense layer over vectors, or inputs do not fit.

    Example:
        >>> vectors_before_head(model, np.zeros((2, 32, 32, 3))).shape[0]
        2
    """
    network = network_of(model)
    refuse_raw(model, inputs)
    array = checked_inputs(network, inputs)
    weighty = [layer for layer in network.layers if layer.weights]
    head = weighty[-1] if weighty else None
    if not isinstance(head, keras.layers.Dense) or len(head.input.shape) != 2:
        hint = "Take keras.Model(model.input, layer.output) of the layer that you want."
        checks.refuse("the last layer with weights must be a dense layer over (B, D)", network.name, hint)
    inner = keras.Model(network.inputs[0], head.input)
    parts = [inner(array[start : start + CHUNK], training=False) for start in range(0, len(array), CHUNK)]
    return np.concatenate([np.asarray(part, "float32") for part in parts])


def project(
    vectors: np.ndarray, method: str = "pca", *, dimensions: int = 2, perplexity: float = 30.0, seed: int = 0
) -> np.ndarray:
    """Returns vectors in the plane, or in few dimensions.

    Source: `pca`: the singular value decomposition; `tsne`: van der Maaten and Hinton, JMLR 9 (2008), by scikit-learn;
    `umap`: https://arxiv.org/abs/1802.03426, by the package umap-learn where it is installed.

    Args:
        vectors: (B, D) numbers.
        method: `pca`, which keeps distances best and is quick; `tsne` or `umap`, which keep neighbours together, while
            distances between groups mean little.
        dimensions: of the result.
        perplexity: of `tsne` and, as number of neighbours, of `umap`; at most a third of the examples is taken.
        seed: of `tsne` and `umap`.

    Returns:
        (B, dimensions) float32.

    Raises:
        ArgumentError: vectors are not finite or fewer than 2, dimensions exceed theirs, or umap-learn is missing.

    Example:
        >>> project(np.eye(4), dimensions=2).shape
        (4, 2)
    """
    vectors = checked_vectors("vectors", vectors)
    checks.one_of("method", method, METHODS)
    if checks.at_least("dimensions", dimensions, 1) > min(vectors.shape):
        checks.refuse(f"dimensions must be at most {min(vectors.shape)}", dimensions)
    if len(vectors) < 2:
        checks.refuse("vectors must be of 2 examples or more", len(vectors))
    checks.within("perplexity", perplexity, 1.0, 1e4)
    near = max(1.0, min(perplexity, (len(vectors) - 1) / 3))
    if method == "pca":
        centred = vectors - vectors.mean(axis=0)
        left, sizes, axes = np.linalg.svd(centred, full_matrices=False)
        signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])  # the same in every run
        return (left * sizes * signs)[:, :dimensions].astype("float32")
    if method == "tsne":
        from sklearn.manifold import TSNE

        found = TSNE(dimensions, perplexity=near, init="pca" if dimensions <= 2 else "random", random_state=seed)
        return found.fit_transform(vectors).astype("float32")
    try:
        import umap
    except ImportError:
        checks.refuse("method umap needs the package umap-learn", "it is not installed", "Take tsne, or install it.")
    return umap.UMAP(n_components=dimensions, n_neighbors=max(2, round(near)), random_state=seed).fit_transform(vectors)


def nearest_examples(
    vectors: np.ndarray, queries: np.ndarray, count: int = 5, *, measure: str = "cosine"
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the examples whose vectors are nearest to each query.

    Args:
        vectors: (B, D) of the examples.
        queries: (Q, D).
        count: examples for each query.
        measure: `cosine` distance, 1 - cosine, or `euclidean`.

    Returns:
        Places of the examples (Q, count), the nearest first, and distances (Q, count) float64; a vector of zeros has
        the cosine 0 with every other.

    Raises:
        ArgumentError: shapes do not fit, numbers are not finite, or there are fewer examples than asked for.

    Example:
        >>> nearest_examples(np.eye(3), np.array([[0.0, 2.0, 0.1]]), 2)[0]
        array([[1, 2]])
    """
    vectors, queries = checked_vectors("vectors", vectors), checked_vectors("queries", queries)
    checks.one_of("measure", measure, MEASURES)
    if vectors.shape[1] != queries.shape[1]:
        checks.refuse(f"queries must have {vectors.shape[1]} numbers, as the vectors", queries.shape)
    if checks.at_least("count", count, 1) > len(vectors):
        checks.refuse(f"count must be at most the {len(vectors)} examples", count)
    if measure == "cosine":
        units = [each / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-300) for each in (vectors, queries)]
        distances = 1.0 - units[1] @ units[0].T
    else:
        from scipy.spatial.distance import cdist

        distances = cdist(queries, vectors)
    places = distances.argsort(axis=1, kind="stable")[:, :count]
    return places, np.take_along_axis(distances, places, axis=1)


def checked_vectors(name: str, vectors: Any) -> np.ndarray:
    """Returns vectors (B, D) as float64; refuses others."""
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiub" or not vectors.size or not np.isfinite(vectors).all():
        checks.refuse(f"{name} must be finite numbers (B, D)", f"{vectors.dtype} of shape {vectors.shape}")
    return vectors.astype(float)
