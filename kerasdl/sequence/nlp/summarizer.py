"""Summariser: a net that reads a text and writes a shorter one, measured by ROUGE."""

from collections.abc import Sequence
from typing import Any

from kerasdl.core import checks
from kerasdl.metrics import rouge

from ..seq2seq.translator import Translator
from ..tokenizers import Tokenizer


class Summarizer(Translator):
    """Trainer of a network that summarises, which answers texts and knows their ROUGE.

    It trains as a `Translator` does, and a bundle of it is one of the task `sequence_to_sequence`.

    Args:
        network: model of a registered net of that task, such as `bart_base` or `t5_small`.
        tokenizer: a `Tokenizer` that pads with the network's padding; its begin and end tokens are those of a summary.
        **settings: further arguments of `Translator`.

    Raises:
        ArgumentError: the tokenizer has another padding or more tokens than the network, or an argument of
            `Translator` breaks its rule.

    Example:
        >>> tokenizer = train_tokenizer(["to be or not to be"], "word", 9)
        >>> network = kerasdl.build("seq2seq", length=8, target_length=4, vocabulary=9, embedding=4, units=4)
        >>> len(Summarizer(network, tokenizer).summarise(["to be or not to be"]))
        1
    """

    def __init__(self, network: Any, tokenizer: Tokenizer, **settings: Any):
        super().__init__(network, **settings)
        if tokenizer.padding_id != self.padding:
            checks.refuse(f"the tokenizer must pad with {self.padding}, as the network", tokenizer.padding_id)
        if tokenizer.vocabulary > self.main.output.shape[-1]:
            checks.refuse(f"the tokenizer must have at most {self.main.output.shape[-1]} tokens", tokenizer.vocabulary)
        self.tokenizer = tokenizer

    def summarise(self, texts: Sequence[str], **search: Any) -> list[str]:
        """Returns a summary of each text.

        Args:
            texts: the texts; what is behind the longest source of the network is cut off.
            **search: arguments of `translate`, such as `width=4` for a beam.

        Raises:
            ArgumentError: an argument breaks its rule.
        """
        if isinstance(texts, str):
            checks.refuse("texts must be a list of texts", texts[:60], "Pass [text].")
        source = self.tokenizer.encode_batch(texts, self.lengths[0])
        end = search.setdefault("end", self.tokenizer.end_id)
        rows = self.translate(source, **{"start": self.tokenizer.begin_id, **search}).tolist()
        return [self.tokenizer.decode(row[: row.index(end)] if end in row else row) for row in rows]

    def measure(self, texts: Sequence[str], summaries: Sequence[str], **search: Any) -> dict[str, float]:
        """Returns ROUGE-1, ROUGE-2 and ROUGE-L of its summaries, from 0 to 1; see `kerasdl.metrics.rouge`.

        Args:
            texts: as in `summarise`.
            summaries: the reference of each text, or a list of its references.
            **search: as in `summarise`.

        Raises:
            ArgumentError: as `summarise`; or texts and references do not belong together.
        """
        return rouge(summaries, self.summarise(texts, **search))
