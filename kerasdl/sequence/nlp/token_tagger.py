"""Token tagger: a network with its words or its tokenizer, and tags, for entities and parts of speech."""

from collections.abc import Sequence
from typing import Any

import keras

from kerasdl.core import build, checks, spec
from kerasdl.data import Dataset
from kerasdl.ops import tag_scheme

from ..tokenizers import Tokenizer, train_tokenizer
from .text_model import TextModel, length_of, text_settings
from .token_table import TokenTable

NET = "bilstm_crf"
VOCABULARY = 8_000
MINIMUM = 2
"""Times that a word of the data must occur to have an id."""


class TokenTagger(TextModel):
    """Token tagger: raw texts in, a tag for each word and the entities that they spell out.

    Words stand between spaces. A network over word pieces reads each word at its first piece.

    Args:
        network: model of a registered net of the task `token_tagging`, such as `bilstm_crf` or `bert_tagger`.
        table: the `TokenTable` of a network over words, or the `Tokenizer` of one over pieces.
        tags: the name of each tag, such as `B-PER`.
        length: words or pieces of a text, where a network over pieces takes any number.

    Raises:
        ArgumentError: network, table and tags do not fit together.

    Example:
        >>> table = TokenTable.of(["Ada slept"], word_length=4)
        >>> sizes = dict(vocabulary=table.vocabulary, character_vocabulary=table.character_vocabulary, word_length=4)
        >>> network = kerasdl.build("bilstm_crf", length=None, classes=2, **sizes)
        >>> len(TokenTagger(network, table, ["B-PER", "O"]).predict(["Ada slept"])[0]["tags"])
        2
    """

    task_name = "token_tagging"

    def __init__(
        self, network: keras.Model, table: TokenTable | Tokenizer, tags: Sequence[str], *, length: int | None = None
    ):
        if isinstance(table, Tokenizer):
            settings = text_settings(network, table, length_of(network, length))
        else:
            own = keras.tree.flatten(network.input)[0].shape[1]
            settings = {**table.settings(), "length": own if length is None else length_of(network, length)}
        settings |= {"tags": list(tags), "scheme": tag_scheme(tags)}
        super().__init__(network, settings, tags)

    @classmethod
    def from_data(
        cls,
        train: Dataset,
        net: str | None = None,
        *,
        vocabulary: int = VOCABULARY,
        length: int | None = None,
        **arguments: Any,
    ) -> "TokenTagger":
        """Returns an untrained tagger for data, with the words of their texts or a new WordPiece tokenizer.

        Args:
            train: texts with tags, such as `kerasdl.data.load("names")` or `"conll:FILE"`.
            net: a registered net of the task `token_tagging`; None is `bilstm_crf`. Transformers read word pieces.
            vocabulary: tokens at most, of word pieces.
            length: words or pieces of a text; None takes any number of words, and the pieces of the longest text.
            **arguments: further arguments of the net.

        Raises:
            ArgumentError: the net is of another task, or the data are no tagged texts in memory.
        """
        net = spec(net or NET)
        checks.one_of(f"the task of {net.name}", net.task, ("token_tagging",))
        if train.task != "token_tagging" or not train.any_order or train.source.labels is None:
            checks.refuse("data for a tagger must be texts with their tags, in memory", f"{train.name}: {train.task}")
        texts = [str(text) for text in train.source.inputs]
        tags = sorted({tag for row in train.source.labels for tag in str(row).split()})
        own: dict[str, Any] = {"length": length, "classes": len(tags)}
        if "transformer" in net.tags:
            table = train_tokenizer(texts, "wordpiece", vocabulary, lowercase=True, ends=True)
            own |= {"vocabulary": table.vocabulary}
            own["length"] = length or max(len(table.encode(text)) for text in texts)
        else:
            table = TokenTable.of(texts, minimum=MINIMUM)
            own |= {"vocabulary": table.vocabulary, "character_vocabulary": table.character_vocabulary}
            own |= {"word_length": table.word_length}
        own |= arguments
        return cls(build(net.name, **own), table, tags)._built_by(net.name, own)
