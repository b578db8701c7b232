"""Conversation with a language model: history cut to the context at whole turns, replies as they are written."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from kerasdl.core import checks

from ..generation import LARGEST_SEED, generate
from ..text_inputs import tokenizer_of
from ..token_ids import NO_TOKEN
from ..tokenizers import Tokenizer
from ..transformer.cached_decoding import position_limit
from .templates import ChatTemplate, JinjaTemplate, template_of

CONTEXT = 2048
"""Tokens of prompt and reply where a model takes texts of any length."""
UNFINISHED = "\N{REPLACEMENT CHARACTER}"
ROLE_NAMES = {"bos_token": "begin_id", "eos_token": "end_id", "pad_token": "padding_id", "unk_token": "unknown_id"}


class Chat:
    """Chat with a language model, which remembers the turns.

    A model that was not trained on chats writes on as its texts would, in the roles of the template.

    Args:
        source: a bundle of the task `language_modeling` with a tokenizer, or a language model.
        tokenizer: of a model; a bundle has its own.
        template: a `ChatTemplate`, a `JinjaTemplate` or a source of Jinja; None takes `chat_template` of the bundle's
            settings, else the plain `ChatTemplate()`.
        system: first message of each chat, which is never cut; None for none.
        length: tokens of a reply at most.
        context: tokens of prompt and reply at most; None takes the model's length or positions, else 2048.
        temperature: as in `kerasdl.sequence.generate`.
        top_k: as in `kerasdl.sequence.generate`.
        top_p: as in `kerasdl.sequence.generate`.
        min_p: as in `kerasdl.sequence.generate`.
        repetition_penalty: as in `kerasdl.sequence.generate`.
        seed: seed of the first reply; the next ones take those behind it. An equal seed gives an equal chat.

    Raises:
        ArgumentError: an argument breaks its rule, the bundle is of another task, there is no tokenizer, or it has more
            tokens than the model.

    Example:
        >>> tokenizer = kerasdl.sequence.train_tokenizer(["User: hello\\nAssistant: good day"], "char", 40)
        >>> sizes = {"vocabulary": tokenizer.vocabulary, "embedding": 4, "units": 4, "depth": 1}
        >>> network = kerasdl.build("gru_language_model", length=None, **sizes)
        >>> chat = Chat(network, tokenizer, length=5)
        >>> reply = chat.say("hello")
        >>> [message["role"] for message in chat.messages]
        ['user', 'assistant']
    """

    def __init__(
        self,
        source: Any,
        tokenizer: Tokenizer | None = None,
        template: ChatTemplate | JinjaTemplate | str | None = None,
        *,
        system: str | None = None,
        length: int = 200,
        context: int | None = None,
        temperature: float = 0.8,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float = 1.0,
        seed: int = 0,
    ):
        self.model, self.tokenizer, settings = _parts_of(source, tokenizer)
        names = _names_of(self.tokenizer)
        self.template = template_of(settings.get("chat_template") if template is None else template, names)
        self.length = checks.at_least("length", length, 1)
        limit = self.model.inputs[0].shape[1] or position_limit(self.model)
        context = (limit or CONTEXT) if context is None else context
        hint = f"A reply may have {self.length} tokens: pass a smaller length=."
        self.context = checks.at_least("context", context, self.length + 1, hint)
        if limit is not None and self.context > limit:
            checks.refuse(f"context must be at most {limit}, the positions of {self.model.name!r}", self.context)
        self.seed = checks.at_least("seed", seed, 0)
        self.drawing = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
        self.drawing["repetition_penalty"] = repetition_penalty
        if system is not None and not isinstance(system, str):
            checks.refuse("system must be a text", type(system).__name__)
        self.system = system
        self._special = special_tokens(self.tokenizer)
        ends = [each for each in self.template.stop if each in self._special]  # which no decoded text shows
        self._end = self.tokenizer.id_of(ends[0]) if ends else self.tokenizer.end_id
        self._stop = tuple(each for each in self.template.stop if each not in ends)
        self._allowed = _known_tokens(self.model, self.tokenizer)
        self.reset()

    def reset(self) -> None:
        """Forgets all turns but the system's message."""
        self.messages: list[dict[str, str]] = []
        self.forgotten = 0
        if self.system is not None:
            self.messages.append({"role": "system", "content": self.system})

    def say(self, text: str, on_text: Callable[[str], Any] | None = None) -> str:
        """Returns the reply of the model to a message, and remembers both.

        Where the turns are longer than the context, the oldest pairs of message and reply are left out of the prompt;
        `forgotten` counts them. After an error the chat is as before.

        Args:
            text: the message.
            on_text: a function that is called with each piece of the reply once it is certain to stay.

        Returns:
            The reply, without spaces around it.

        Raises:
            ArgumentError: the message is empty, holds a special token, or is alone longer than the context; or the
                model has another form.
        """
        if not isinstance(text, str) or not text.strip():
            checks.refuse("a message must be a text with a letter", text)
        found = [token for token in self._special if token in text]
        if found:
            checks.refuse("a message must not hold special tokens, which would end its turn", found[0])
        messages = [*self.messages, {"role": "user", "content": text}]
        prompt, forgotten = self._prompt(messages)
        seed = (self.seed + sum(each["role"] == "assistant" for each in messages)) % (LARGEST_SEED + 1)
        reply = self._reply(prompt, seed, on_text)
        self.messages, self.forgotten = [*messages, {"role": "assistant", "content": reply}], forgotten
        return reply

    def _prompt(self, messages: list[dict[str, str]]) -> tuple[list[int], int]:
        """Returns the tokens of the newest turns that fit the context, and how many pairs were left out."""
        first = int(messages[0]["role"] == "system")
        for left in range((len(messages) - first + 1) // 2):
            kept = [*messages[:first], *messages[first + 2 * left :]]
            tokens = self.tokenizer.encode(self.template.render(kept), special_tokens=False)
            if len(tokens) + self.length <= self.context:
                return tokens, left
        room = self.context - self.length
        checks.refuse(f"a message with the template must have at most {room} tokens", len(tokens), "Write less.")

    def _reply(self, prompt: list[int], seed: int, on_text: Callable[[str], Any] | None) -> str:
        watch = _Pieces(self.tokenizer, self._stop, self._end, on_text)
        padding = NO_TOKEN if self.tokenizer.padding_id is None else self.tokenizer.padding_id
        settings = {"padding_id": padding, "end": self._end, "seed": seed, **self.drawing, "allowed": self._allowed}
        stop = {"stop": list(self._stop), "tokenizer": self.tokenizer}
        (row,) = generate(self.model, [prompt], self.length, on_tokens=watch, **settings, **stop)
        return watch.finished([int(token) for token in row if token not in (padding, self._end)])


def _known_tokens(model: keras.Model, tokenizer: Tokenizer) -> np.ndarray | None:
    """Returns the table of `generate` that allows the ids of a tokenizer alone; None where the model has no others."""
    rows = model.outputs[0].shape[-1]
    if rows < tokenizer.vocabulary:
        checks.refuse(f"the model must have a row for each of the {tokenizer.vocabulary} tokens", rows)
    spare = np.arange(rows) >= tokenizer.vocabulary  # such as rows that fill a vocabulary up to a round number
    return np.where(spare, -1, 0)[None] if spare.any() else None


class _Pieces:
    """Text of a reply as its tokens come: a piece is told once no stop can begin in it and no character is half."""

    def __init__(
        self, tokenizer: Tokenizer, stop: tuple[str, ...], end: int | None, on_text: Callable[[str], Any] | None
    ):
        self.tokenizer, self.stop, self.end, self.on_text = tokenizer, stop, end, on_text
        self.tokens: list[int] = []
        self.told = ""

    def __call__(self, new: np.ndarray) -> None:
        if self.on_text is None or new[0] == self.end:
            return
        self.tokens.append(int(new[0]))
        text = self._text(self.tokens)
        for place in range(len(text)):
            if any(each.startswith(text[place:]) for each in self.stop):
                text = text[:place]
                break
        self._tell(text.rstrip().rstrip(UNFINISHED).rstrip())  # spaces at the end may be the last ones

    def finished(self, tokens: list[int]) -> str:
        """Returns the whole reply of its tokens, and tells what was not told."""
        text = self._text(tokens).rstrip()
        if self.on_text is not None:
            self._tell(text)
        return text

    def _text(self, tokens: list[int]) -> str:
        text = self.tokenizer.decode(tokens)
        cuts = [place for place in (text.find(each) for each in self.stop) if place >= 0]
        return text[: min(cuts, default=len(text))].lstrip()

    def _tell(self, text: str) -> None:
        if text.startswith(self.told) and len(text) > len(self.told):
            self.on_text(text[len(self.told) :])
            self.told = text


def _parts_of(source: Any, tokenizer: Tokenizer | None) -> tuple[keras.Model, Tokenizer, Mapping[str, Any]]:
    """Returns model, tokenizer and settings of a bundle or a model."""
    if isinstance(source, keras.Model):
        if not isinstance(tokenizer, Tokenizer):
            checks.refuse("a chat with a model must have a tokenizer", type(tokenizer).__name__, "Or pass a bundle.")
        return source, tokenizer, {}
    if not hasattr(source, "preprocess") or not hasattr(source, "networks"):
        checks.refuse("a chat must be with a bundle or a model", type(source).__name__)
    if source.task.name != "language_modeling":
        checks.refuse("a bundle to chat with must be of the task language_modeling", source.task.name)
    if tokenizer is not None:
        checks.refuse("tokenizer is for a model; a bundle has its own", type(tokenizer).__name__)
    settings = source.preprocess
    if not settings.get("tokenizer"):
        hint = 'Set preprocess["tokenizer"] = tokenizer.to_text().'
        checks.refuse("settings of a bundle to chat with must hold a tokenizer", sorted(settings), hint)
    return source.networks["model"], tokenizer_of(settings["tokenizer"]), settings


def _names_of(tokenizer: Tokenizer) -> dict[str, str]:
    """Returns the special tokens of a tokenizer by their names in transformers."""
    ids = {name: getattr(tokenizer, role) for name, role in ROLE_NAMES.items()}
    return {name: tokenizer.token_of(id) or "" for name, id in ids.items() if id is not None}


def special_tokens(tokenizer: Tokenizer) -> tuple[str, ...]:
    """Returns the special tokens of a tokenizer, which a text with their names would get."""
    added = json.loads(tokenizer.to_text()).get("added_tokens") or []
    return tuple(each["content"] for each in added if each.get("special"))
