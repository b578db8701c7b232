"""Long texts as examples of a language model: windows, or parallel streams whose chunks follow one another."""

import numpy as np

from kerasdl.core import checks
from kerasdl.data import Dataset, as_dataset

from ..token_ids import int32_ids


def token_windows(tokens: np.ndarray, length: int) -> Dataset:
    """Returns a text as windows, each with the token behind each of its tokens as label.

    Args:
        tokens: (N,) integers, one text.
        length: T, tokens of a window. The last window ends with the text, and its first labels are -1 where the
            window before has them already, so that each token but the first is a label once.

    Returns:
        A dataset of (T,) int32 tokens with (T,) int32 labels.

    Raises:
        ArgumentError: the tokens are no such array, or fewer than a window and a token.

    Example:
        >>> inputs, labels = token_windows(np.arange(1, 8), 4).arrays()
        >>> inputs.tolist(), labels.tolist()
        ([[1, 2, 3, 4], [3, 4, 5, 6]], [[2, 3, 4, 5], [-1, -1, 6, 7]])
    """
    tokens = _checked(tokens, checks.at_least("length", length, 1))
    count = len(tokens) - 1
    starts = [*range(0, count - length + 1, length)]
    inputs, labels = [tokens[s : s + length] for s in starts], [tokens[s + 1 : s + 1 + length] for s in starts]
    rest = count - length * len(starts)
    if rest:
        inputs.append(tokens[count - length : count])
        known = np.full(length - rest, -1, np.int32)
        labels.append(np.concatenate([known, tokens[count - rest + 1 :]]))
    return as_dataset((np.stack(inputs), np.stack(labels)))


def token_streams(tokens: np.ndarray, streams: int, length: int) -> Dataset:
    """Returns a text as parallel streams, cut into chunks that follow one another from batch to batch.

    Row r of each batch goes on where row r of the batch before ended, in the order of the text, whatever the seed. A
    `TruncatedBackpropagation` carries the state from one to the next; `fresh` is 1 in the first batch, where it begins
    with zeros. `batch_size` and `shuffle` of `RunConfig` have no effect.

    Source: https://arxiv.org/abs/1409.2329, section 4.1: unrolled for a number of steps, with the final hidden states
    of a minibatch as the initial ones of the next.

    Args:
        tokens: (N,) integers, one text.
        streams: B, rows of a batch; the text is cut into so many parts of equal length, and its rest is left out.
        length: T, tokens of a chunk.

    Returns:
        A dataset of `{"tokens": (T,) int32, "fresh": float32}` with (T,) int32 labels, in batches of B.

    Raises:
        ArgumentError: the tokens are no such array, or too few for a chunk of each stream.

    Example:
        >>> data = token_streams(np.arange(1, 14), streams=2, length=3)
        >>> [inputs["tokens"].numpy().tolist() for inputs, labels in data.batches()]
        [[[1, 2, 3], [7, 8, 9]], [[4, 5, 6], [10, 11, 12]]]
    """
    checks.at_least("streams", streams, 1)
    tokens = _checked(tokens, checks.at_least("length", length, 1))
    chunks = (len(tokens) - 1) // (streams * length)
    if not chunks:
        checks.refuse(f"tokens must be above {streams} streams of {length}", len(tokens), "Take fewer or shorter ones.")
    parts = [_in_order(each, streams, chunks, length) for each in (tokens[:-1], tokens[1:])]
    fresh = np.zeros(chunks * streams, np.float32)
    fresh[:streams] = 1
    batches = [np.arange(streams) + number * streams for number in range(chunks)]
    data = as_dataset(({"tokens": parts[0], "fresh": fresh}, parts[1]))
    return data.batched_by(lambda seed, epoch: batches)


def _in_order(tokens: np.ndarray, streams: int, chunks: int, length: int) -> np.ndarray:
    """Returns chunks (chunks * streams, length), those of one batch together."""
    parts = tokens[: streams * chunks * length].reshape(streams, chunks, length)
    return np.ascontiguousarray(parts.transpose(1, 0, 2)).reshape(-1, length)


def _checked(tokens: np.ndarray, length: int) -> np.ndarray:
    tokens = np.asarray(tokens)
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu" or len(tokens) <= length:
        rule = f"tokens must be whole numbers (N,), more than the length {length}"
        checks.refuse(rule, (tokens.shape, str(tokens.dtype)))
    return int32_ids(tokens)
