"""Losses of word vectors over blocks of text: negative sampling, hierarchical softmax and GloVe.

Words of a block share their negatives and their windows, so that each loss is a few matrix products (the form of
https://arxiv.org/abs/1604.04661); weights of pairs say which of them count, and how often.
"""

from typing import Any

from keras import ops


def negative_sampling_loss(inputs: Any, targets: Any, negatives: Any, pairs: Any, weights: Any) -> Any:
    """Returns the loss of telling the targets of words from negatives, summed over the pairs of each block.

    -sum(pairs * log sigmoid(u . v)) - sum(weights * log sigmoid(-u . n)), u an input, v a target, n a negative.

    Source: https://arxiv.org/abs/1310.4546, equation 4.

    Args:
        inputs: (B, N, D) input vectors.
        targets: (B, S, D) output vectors of the words that may be targets.
        negatives: (B, M, D) output vectors of the drawn words.
        pairs: (B, N, S) weight of each pair of input and target, 0 for none.
        weights: (B, N, M) weight of each negative of each input.

    Returns:
        (B,) losses.

    Example:
        >>> one = np.ones((1, 1, 1), "float32")
        >>> negative_sampling_loss(one, one, -one, one, 5 * one).numpy().round(3)
        array([1.88], dtype=float32)
    """
    positive = ops.softplus(-ops.matmul(inputs, ops.swapaxes(targets, -1, -2)))  # (B, N, S)
    negative = ops.softplus(ops.matmul(inputs, ops.swapaxes(negatives, -1, -2)))  # (B, N, M)
    return ops.sum(pairs * positive, axis=(-2, -1)) + ops.sum(weights * negative, axis=(-2, -1))


def hierarchical_softmax_loss(inputs: Any, nodes: Any, turns: Any, pairs: Any) -> Any:
    """Returns the loss of the paths through a binary tree to the targets of words, summed over the pairs of each block.

    -log p(target | input) is the sum of -log sigmoid(turn * u . n) over the nodes n on the path to the target; the
    probabilities of all leaves sum to 1.

    Source: https://arxiv.org/abs/1310.4546, equation 3.

    Args:
        inputs: (B, N, D) input vectors.
        nodes: (B, S, L, D) vectors of the nodes on the path to each target.
        turns: (B, S, L) the turn at each node: 1 for the one side, -1 for the other, 0 behind the end of the path.
        pairs: (B, N, S) weight of each pair of input and target, 0 for none.

    Returns:
        (B,) losses.

    Example:
        >>> zeros, one = np.zeros((1, 1, 2, 3), "float32"), np.ones((1, 1, 1), "float32")
        >>> hierarchical_softmax_loss(zeros[:, 0], zeros, np.array([[[1.0, -1.0]]]), np.ones((1, 2, 1))).numpy()
        array([2.7725887], dtype=float32)
    """
    batch, targets, length, width = ops.shape(nodes)
    turns = ops.cast(turns, nodes.dtype)
    flat = ops.reshape(nodes, (batch, targets * length, width))
    scores = ops.matmul(inputs, ops.swapaxes(flat, -1, -2))  # (B, N, S L)
    losses = ops.softplus(-scores * ops.reshape(turns, (batch, 1, targets * length)))
    losses = ops.reshape(losses, (batch, -1, targets, length)) * ops.abs(turns)[:, None]
    return ops.sum(ops.sum(losses, axis=-1) * ops.cast(pairs, losses.dtype), axis=(-2, -1))


def glove_loss(
    words: Any, contexts: Any, word_biases: Any, context_biases: Any, counts: Any, *, most: float, power: float
):
    """Returns the weighted squared errors of the logarithms of co-occurrence counts.

    f(x) (w . c + b + d - log x)^2 / 2, with f(x) = min(1, (x / most)^power).

    Source: https://aclanthology.org/D14-1162, equations 8 and 9.

    Args:
        words: (B, D) vectors of words.
        contexts: (B, D) vectors of their context words.
        word_biases: (B,) floats.
        context_biases: (B,) floats.
        counts: (B,) co-occurrences x, above 0.
        most: count from which on all pairs weigh 1.
        power: exponent of the weights below it.

    Returns:
        (B,) losses.

    Example:
        >>> zeros = np.zeros((2, 3), "float32")
        >>> counts = np.array([1.0, np.e], "float32")
        >>> glove_loss(zeros, zeros, 0.0, 0.0, counts, most=np.e, power=0.75).numpy().round(3)
        array([0. , 0.5], dtype=float32)
    """
    errors = ops.sum(words * contexts, axis=-1) + word_biases + context_biases - ops.log(counts)
    return 0.5 * ops.minimum(1.0, ops.power(counts / most, power)) * ops.square(errors)
