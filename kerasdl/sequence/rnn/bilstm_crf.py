"""BiLSTM-CRF: taggers over words and their characters, with a CRF behind them or without (Lample, Ma and Hovy 2016).

Deviations: one table of random word vectors, where the papers start from pretrained ones; Lample's LSTM over characters
is replaced by the CNN of Ma and Hovy, and words of the length of the table are cut at its end.
"""

import keras
from keras import layers

from kerasdl.core import checks, register
from kerasdl.layers import CRF, PaddingMask


def character_features(characters, *, vocabulary: int, width: int = 30, filters: int = 30, dropout: float = 0.5):
    """Features of each word from its characters: a convolution over them, and the maximum over the word.

    Source: Ma and Hovy 2016, https://arxiv.org/abs/1603.01354, section 2.1 and figure 1.

    Args:
        characters: (B, T, L) ids, 0 the padding, L known.
        vocabulary: ids run from 0 to `vocabulary - 1`.
        width: of the vector of a character.
        filters: of the convolution, features of a word.
        dropout: rate before the convolution, from 0 to 1.

    Returns:
        (B, T, filters).

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> character_features(keras.Input((9, 12), dtype="int32"), vocabulary=50).shape
        (None, 9, 30)
    """
    checks.within("dropout", dropout, 0.0, 1.0)
    length, letters = characters.shape[1:]
    x = layers.Embedding(vocabulary, width, name="character_embedding")(characters)  # (B, T, L, D)
    x = layers.Dropout(dropout, name="character_drop")(x)
    x = layers.Conv2D(filters, (1, 3), padding="same", name="character_conv")(x)
    x = layers.MaxPooling2D((1, letters), name="character_pool")(x)  # (B, T, 1, D)
    return layers.Reshape((-1 if length is None else length, filters), name="character_features")(x)


@register(
    task="token_tagging",
    paper="https://arxiv.org/abs/1603.01354",
    variants={"bilstm_crf": {}, "bilstm_tagger": {"crf": False}},
    params={"bilstm_crf": 2_539_038, "bilstm_tagger": 2_538_939},
    reference="the equations of its parts, summed in tests/sequence/test_tagging.py",
    qat="partial",
    tags=("recurrent",),
    free={"length": None},
    tiny=dict(
        length=8,
        word_length=6,
        vocabulary=40,
        character_vocabulary=20,
        classes=5,
        embedding=8,
        characters=4,
        filters=6,
        units=8,
        dropout=0.0,
    ),
)
def bilstm_crf(
    length: int | None = 64,
    *,
    word_length: int = 16,
    vocabulary: int = 20_000,
    character_vocabulary: int = 100,
    classes: int = 9,
    crf: bool = True,
    embedding: int = 100,
    characters: int = 30,
    filters: int = 30,
    units: int = 200,
    depth: int = 1,
    dropout: float = 0.5,
) -> keras.Model:
    """BiLSTM-CRF: vectors of words and of their characters, LSTMs in both directions, a score of each tag, and a CRF.

    Source: Ma and Hovy 2016, https://arxiv.org/abs/1603.01354, section 2 and table 1; Lample et al. 2016,
    https://arxiv.org/abs/1603.01360, section 2.

    Args:
        length: tokens in a padded text, or None for any; files with the decoding inside want it known for ONNX.
        word_length: characters in a padded token, or 0 for a net that reads words alone.
        vocabulary: ids of words run from 0, the padding, to `vocabulary - 1`.
        character_vocabulary: the same of characters.
        classes: tags.
        crf: whether a CRF follows; without it each tag is chosen alone.
        embedding: width of the vectors of words.
        characters: width of the vectors of characters.
        filters: features of a word from its characters.
        units: of each LSTM, in each direction.
        depth: layers of LSTMs.
        dropout: rate on characters, on the vectors of words and after the LSTMs, from 0 to 1.

    Returns:
        A model from `{"tokens": (B, T), "characters": (B, T, L)}` int32, or tokens alone, to potentials (B, T, K, K) in
        float32, or to logits (B, T, K) without a CRF; `kerasdl.losses.CRFLoss` takes both.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("bilstm_crf", length=30, classes=5).output_shape
        (None, 30, 5, 5)
    """
    checks.at_least("depth", depth, 1)
    checks.at_least("word_length", word_length, 0)
    checks.at_least("classes", classes, 1)
    checks.within("dropout", dropout, 0.0, 1.0)
    tokens = keras.Input((length,), dtype="int32", name="tokens")
    mask = PaddingMask(name="mask")(tokens)  # (B, T)
    x = layers.Embedding(vocabulary, embedding, name="embedding")(tokens)  # (B, T, D)
    inputs = tokens
    if word_length:
        letters = keras.Input((length, word_length), dtype="int32", name="characters")
        sizes = {"vocabulary": character_vocabulary, "width": characters, "filters": filters}
        spelled = character_features(letters, **sizes, dropout=dropout)
        x = layers.Concatenate(name="word")([x, spelled])
        inputs = {"tokens": tokens, "characters": letters}
    x = layers.Dropout(dropout, name="word_drop")(x)
    for level in range(1, depth + 1):
        recurrent = layers.LSTM(units, return_sequences=True, name=f"lstm{level}")
        x = layers.Bidirectional(recurrent, name=f"bidirectional{level}")(x, mask=mask)  # (B, T, 2 units)
        x = layers.Dropout(dropout, name=f"lstm{level}_drop")(x)
    x = layers.Dense(classes, dtype="float32", name="head")(x)  # (B, T, K)
    if crf:
        x = CRF(name="crf")([x, mask])
    return keras.Model(inputs, x, name="bilstm_crf")
