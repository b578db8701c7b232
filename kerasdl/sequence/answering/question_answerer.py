"""Question answerer: a network with its tokenizer that finds the answers to questions in texts, measured by EM and F1.

Source: BERT, https://arxiv.org/abs/1810.04805, sections 4.2 and 4.3.
"""

from collections.abc import Sequence
from typing import Any

import keras

from kerasdl.core import build, checks, spec
from kerasdl.data import Dataset
from kerasdl.metrics import squad

from ..nlp.text_model import TextModel, length_of, usual_length
from ..tokenizers import Tokenizer, train_tokenizer
from .answering_task import LONGEST, TASK, answering_settings

NET = "bert_tiny_answerer"
VOCABULARY = 8_000
LONGEST_WINDOW = 384
"""Tokens of a window at most, where its length follows from data, as in the code of BERT."""


class QuestionAnswerer(TextModel):
    """Extractive question answerer: a question and a text in, the part of the text that answers it out.

    Texts longer than the network are read in windows, which overlap by `stride` tokens; the likeliest span of all
    windows is the answer, and its places are characters of the raw text.

    Source: https://arxiv.org/abs/1810.04805, sections 4.2 and 4.3.

    Args:
        network: model of a registered net of the task `question_answering`, such as `bert_tiny_answerer`.
        tokenizer: its `Tokenizer`, whose template parts question and text, such as one trained with `ends=True`.
        length: tokens of a window with those of the question, where the network takes any number.
        stride: tokens of the text that a window shares with the next one; None takes a third of the length.
        longest: tokens of an answer at most.
        no_answer: whether it may say that the text has no answer (https://arxiv.org/abs/1806.03822).
        threshold: by which the score of no answer must exceed that of the best one.

    Raises:
        ArgumentError: network and tokenizer do not fit together, or an argument breaks its range.

    Example:
        >>> tokenizer = train_tokenizer(["who sat? the cat sat."], "word", 12, ends=True)
        >>> sizes = dict(vocabulary=12, width=8, depth=1, heads=2, hidden=16, positions=16)
        >>> network = kerasdl.build("bert_answerer", encoder="bert_tiny", length=12, **sizes)
        >>> answer = QuestionAnswerer(network, tokenizer).answer(["who sat?"], ["the cat sat."])[0]
        >>> answer["answer"] == "the cat sat."[answer["start"] : answer["end"]]
        True
    """

    task_name = TASK

    def __init__(
        self,
        network: keras.Model,
        tokenizer: Tokenizer,
        *,
        length: int | None = None,
        stride: int | None = None,
        longest: int = LONGEST,
        no_answer: bool = False,
        threshold: float = 0.0,
    ):
        form = {"segments": len(network.inputs) > 1, "stride": stride, "longest": longest}
        form |= {"no_answer": no_answer, "threshold": threshold}
        super().__init__(network, answering_settings(tokenizer, length_of(network, length), **form))

    @classmethod
    def from_data(
        cls,
        train: Dataset,
        net: str | None = None,
        *,
        vocabulary: int = VOCABULARY,
        length: int | None = None,
        stride: int | None = None,
        **arguments: Any,
    ) -> "QuestionAnswerer":
        """Returns an untrained answerer for data, with a new WordPiece tokenizer of their questions and texts.

        It may say that a text has no answer if a question of the data has none.

        Args:
            train: questions with answers, such as `kerasdl.data.load("squad:FILE")`.
            net: a registered net of the task `question_answering`; None is `bert_tiny_answerer`.
            vocabulary: tokens at most.
            length: tokens of a window; None takes the length that 95 per cent of the texts with their questions do not
                exceed, up to 384.
            stride: as in the class.
            **arguments: further arguments of the net.

        Raises:
            ArgumentError: the net is of another task, or the data are no questions in memory.
        """
        net = spec(net or NET)
        checks.one_of(f"the task of {net.name}", net.task, (TASK,))
        if train.task != TASK or not train.any_order or "context" not in train.source.inputs:
            checks.refuse(
                "data for an answerer must be questions about texts, in memory", f"{train.name}: {train.task}"
            )
        raw = train.source.inputs
        texts = [*dict.fromkeys(raw["context"]), *raw["question"]]
        tokenizer = train_tokenizer(texts, "wordpiece", vocabulary, lowercase=True, ends=True)
        pairs = list(zip(raw["question"], raw["context"], strict=True))
        length = usual_length(tokenizer, pairs, LONGEST_WINDOW) if length is None else length
        own = {"length": length, "vocabulary": tokenizer.vocabulary, **arguments}
        no_answer = any(not given for given in train.source.labels)
        answerer = cls(build(net.name, **own), tokenizer, stride=stride, no_answer=no_answer)
        return answerer._built_by(net.name, own)

    def answer(
        self, questions: Sequence[str], contexts: Sequence[str], *, batch_size: int = 64
    ) -> list[dict[str, Any]]:
        """Returns the answer to each question about its text, as a bundle of the task `question_answering` does.

        Args:
            questions: the questions.
            contexts: the text of each, of any length.
            batch_size: windows computed at once.

        Returns:
            Of each question a dict: `answer`, a part of the text, or None where there is none; its `score`; `start` and
            `end`, its characters in the text; `answers`, the three likeliest.

        Raises:
            ArgumentError: lists differ in length, a text is empty, or a question leaves no room for its text.
            DataError: the logits of the network are not finite.
        """
        for name, texts in {"questions": questions, "contexts": contexts}.items():
            if isinstance(texts, str):
                checks.refuse(f"{name} must be a list of texts", texts[:60], "Pass [text].")
        return self.predict({"question": questions, "context": contexts}, batch_size=batch_size)

    def measure(
        self, questions: Sequence[str], contexts: Sequence[str], answers: Sequence[Sequence[str]]
    ) -> dict[str, float]:
        """Returns exact match and F1 of its answers, from 0 to 1; see `kerasdl.metrics.squad`.

        Args:
            questions: as in `answer`.
            contexts: as in `answer`.
            answers: the texts that are right of each question, none where there is no answer.

        Raises:
            ArgumentError: as `answer`; or questions and answers do not belong together.
        """
        return squad(answers, [each["answer"] or "" for each in self.answer(questions, contexts)])
