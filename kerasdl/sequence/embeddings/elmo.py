"""ELMo: vectors of words in their sentence, from two language models over characters.

Source: https://aclanthology.org/N18-1202; the character network: https://arxiv.org/abs/1602.02410.

Deviations: outside a sentence states are zero, while the authors' program goes on with those of the batch before; the
character of the padding has id 0.
"""

import keras
import numpy as np
from keras import layers

from kerasdl.core import checks, register
from kerasdl.layers import ProjectedLSTMCell, ReverseTokens, ScalarMix, TokenMask

# Characters of each filter, and their number.
FILTERS = ((1, 32), (2, 32), (3, 64), (4, 128), (5, 256), (6, 512), (7, 1024))
IDS = 261  # the padding 0, bytes 1 to 256, and the marks below
WORD_BEGIN, WORD_END, TEXT_BEGIN, TEXT_END = 257, 258, 259, 260


def character_ids(texts, length: int, characters: int = 50) -> np.ndarray:
    """Returns the ids of the UTF-8 bytes of words, each between two marks, and of the texts between two words of marks.

    Args:
        texts: strings, which are cut at white space, or lists of tokens.
        length: T, words of a text, its two marks counted; longer texts are cut.
        characters: bytes of a word, its two marks counted; longer words are cut.

    Returns:
        (B, T, characters) int32, 0 the padding.

    Raises:
        ArgumentError: the texts are one string, or a length is below 3.

    Example:
        >>> character_ids(["a"], 4, 5)[0]
        array([[257, 259, 258,   0,   0],
               [257,  98, 258,   0,   0],
               [257, 260, 258,   0,   0],
               [  0,   0,   0,   0,   0]], dtype=int32)
    """
    checks.at_least("length", length, 3)
    checks.at_least("characters", characters, 3)
    if isinstance(texts, str):
        checks.refuse("texts must be a list of strings or of lists of tokens", texts[:40], "Pass [text].")
    ids = np.zeros((len(texts), length, characters), np.int32)
    for row, text in zip(ids, texts, strict=True):
        words = [[byte + 1 for byte in word.encode()] for word in (text.split() if isinstance(text, str) else text)]
        for place, word in enumerate([[TEXT_BEGIN], *words[: length - 2], [TEXT_END]]):
            marked = [WORD_BEGIN, *word[: characters - 2], WORD_END]
            row[place, : len(marked)] = marked
    return ids


def elmo_features(
    x,
    *,
    filters=FILTERS,
    highways: int = 2,
    units: int = 4096,
    projection: int = 512,
    depth: int = 2,
    prefix: str = "",
) -> dict:
    """Words by their characters, and the layers of both language models over them.

    Source: https://aclanthology.org/N18-1202, section 3.

    Args:
        x: (B, T, characters) int32.
        filters: characters of each filter and their number.
        highways: highway layers over the filters.
        units: numbers of each LSTM cell.
        projection: D, numbers of a word and of the output of each LSTM.
        depth: LSTM layers of each direction.
        prefix: first part of every layer name.

    Returns:
        `{"words": (B, T, D), "forward1": (B, T, D), "backward1": ..., "forward2": ..., "backward2": ...}`.

    Example:
        >>> list(elmo_features(keras.Input((None, 50), dtype="int32"), units=8, projection=4))
        ['words', 'forward1', 'backward1', 'forward2', 'backward2']
    """
    characters, mask = x.shape[-1], TokenMask(name=f"{prefix}mask")(x)
    x = layers.Embedding(IDS, 16, name=f"{prefix}characters")(x)  # (B, T, characters, 16)
    maps = []
    for width, count in filters:
        each = layers.Conv2D(count, (1, width), name=f"{prefix}filter{width}")(x)
        each = layers.MaxPooling2D((1, characters - width + 1), name=f"{prefix}pool{width}")(each)  # (B, T, 1, count)
        maps.append(layers.Reshape((-1, count), name=f"{prefix}reshape{width}")(each))
    x = layers.Concatenate(name=f"{prefix}concatenate")(maps)
    x = layers.Activation("relu", name=f"{prefix}relu")(x)
    for number in range(1, highways + 1):
        x = _highway(x, f"{prefix}highway{number}")
    words = layers.Dense(projection, name=f"{prefix}projection")(x)  # (B, T, D)
    features = {"words": words}
    reversed_mask = ReverseTokens(name=f"{prefix}reverse_mask")(mask)
    directions = {"forward": (words, mask), "backward": (ReverseTokens(name=f"{prefix}reverse")(words), reversed_mask)}
    for direction, (x, known) in directions.items():
        for level in range(1, depth + 1):
            name = f"{prefix}{direction}{level}"
            cell = ProjectedLSTMCell(units, projection, name=f"{name}_cell")
            y = layers.RNN(cell, return_sequences=True, name=f"{name}_lstm")(x, mask=known)
            x = y if level == 1 else layers.Add(name=f"{name}_add")([x, y])
            features[f"{direction}{level}"] = x if direction == "forward" else ReverseTokens(name=f"{name}_reverse")(x)
    names = ["words", *(f"{direction}{level}" for level in range(1, depth + 1) for direction in directions)]
    return {name: features[name] for name in names}


def _highway(x, name: str):
    """Highway layer, gate * relu(dense(x)) + (1 - gate) * x (https://arxiv.org/abs/1505.00387)."""
    width = x.shape[-1]
    gate = layers.Dense(width, activation="sigmoid", bias_initializer="ones", name=f"{name}_gate")(x)
    new = layers.Dense(width, activation="relu", name=f"{name}_dense")(x)
    change = layers.Subtract(name=f"{name}_change")([new, x])
    change = layers.Multiply(name=f"{name}_gated")([gate, change])
    return layers.Add(name=f"{name}_add")([x, change])


@register(
    task="network",
    paper="https://aclanthology.org/N18-1202",
    variants={"elmo": {}, "elmo_small": {"highways": 1, "units": 1024, "projection": 128}},
    params={"elmo": 93_600_852, "elmo_small": 13_593_300},
    reference="the layers of the paper, summed in tests/sequence/test_elmo.py: its 93.6 M and 13.6 M, and the mix",
    qat="partial",
    tags=("recurrent", "embedding"),
    free={"length": None},
    tiny=dict(length=6, characters=8, filters=((1, 4), (2, 4), (3, 8)), highways=1, units=12, projection=6),
)
def elmo(
    length: int | None = 64,
    *,
    characters: int = 50,
    filters=FILTERS,
    highways: int = 2,
    units: int = 4096,
    projection: int = 512,
    depth: int = 2,
) -> keras.Model:
    """ELMo, an embedding of words in their sentence: a mix of the layers of two language models, learnt by the task.

    Source: https://aclanthology.org/N18-1202, section 3.

    Args:
        length: T, words of a text, its marks counted, or None for any; exports to TFLite want it known.
        characters: bytes of a word, its marks counted; at least those of the widest filter.
        filters: characters of each filter and their number.
        highways: highway layers over the filters.
        units: numbers of each LSTM cell.
        projection: D, numbers of a word in each direction.
        depth: LSTM layers of each direction.

    Returns:
        A model from (B, T, characters) int32, such as `character_ids` returns, to vectors (B, T, 2 D) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("elmo_small").output_shape
        (None, 64, 256)
    """
    _check(characters, filters, depth)
    x = keras.Input((length, characters), dtype="int32", name="characters_of_words")
    settings = {"filters": filters, "highways": highways, "units": units, "projection": projection, "depth": depth}
    features = elmo_features(x, **settings)
    words = features["words"]
    levels = [layers.Concatenate(name="words_twice")([words, words])]
    for level in range(1, depth + 1):
        pair = [features[f"forward{level}"], features[f"backward{level}"]]
        levels.append(layers.Concatenate(name=f"level{level}")(pair))
    return keras.Model(x, ScalarMix(name="mix", dtype="float32")(levels), name="elmo")


def elmo_language_model(
    vocabulary: int,
    length: int | None = 64,
    *,
    characters: int = 50,
    filters=FILTERS,
    highways: int = 2,
    units: int = 4096,
    projection: int = 512,
    depth: int = 2,
) -> keras.Model:
    """The two language models that ELMo is trained as: they share the words' network and the softmax.

    `fit` trains it with the targets of `language_model_targets`; its layers have the names of those of `elmo`.

    Source: https://aclanthology.org/N18-1202, section 3.1.

    Args:
        vocabulary: V, ids of words that are predicted.
        length: T, as in `elmo`, and so are the other arguments.
        characters: bytes of a word.
        filters: characters of each filter and their number.
        highways: highway layers over the filters.
        units: numbers of each LSTM cell.
        projection: D, numbers of a word in each direction.
        depth: LSTM layers of each direction.

    Returns:
        A model from (B, T, characters) int32 to `{"forward": (B, T, V), "backward": (B, T, V)}`, logits in float32 of
        the next word and of the one before.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> model = elmo_language_model(100, 8, units=16, projection=4)
        >>> {name: logits.shape for name, logits in model.output.items()}
        {'forward': (None, 8, 100), 'backward': (None, 8, 100)}
    """
    _check(characters, filters, depth)
    checks.at_least("vocabulary", vocabulary, 2)
    x = keras.Input((length, characters), dtype="int32", name="characters_of_words")
    settings = {"filters": filters, "highways": highways, "units": units, "projection": projection, "depth": depth}
    features = elmo_features(x, **settings)
    softmax = layers.Dense(vocabulary, dtype="float32", name="softmax")
    logits = {direction: softmax(features[f"{direction}{depth}"]) for direction in ("forward", "backward")}
    return keras.Model(x, logits, name="elmo_language_model")


def language_model_targets(ids) -> dict[str, np.ndarray]:
    """Returns the targets of both language models: the next word of each, and the one before.

    Args:
        ids: (B, T) ids of the words of texts, 0 the padding.

    Returns:
        `{"forward": (B, T), "backward": (B, T)}` int32; -1 where there is no word, or no other beside it.

    Example:
        >>> language_model_targets([[3, 5, 4, 0]])["forward"]
        array([[ 5,  4, -1, -1]], dtype=int32)
    """
    ids = np.asarray(ids, np.int32)
    beside = np.pad(ids, [(0, 0), (1, 1)])
    targets = {"forward": beside[:, 2:], "backward": beside[:, :-2]}
    return {name: np.where((ids == 0) | (each == 0), -1, each).astype(np.int32) for name, each in targets.items()}


def _check(characters: int, filters, depth: int) -> None:
    checks.at_least("depth", depth, 1)
    widest = max(width for width, _ in filters)
    checks.at_least("characters", characters, widest, f"The widest filter has {widest}.")
