"""Pretraining by masked tokens: trainer of a masked language model, which draws new masks in each step.

Sources: BERT, https://arxiv.org/abs/1810.04805, section 3.1; masks that change with the epoch: RoBERTa,
https://arxiv.org/abs/1907.11692, section 4.1; order of sentences: ALBERT, https://arxiv.org/abs/1909.11942.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.data.text import hide_tokens
from kerasdl.metrics import TokenAccuracy
from kerasdl.train import Trainer
from kerasdl.train.trainer import own_losses, step_seed

from ..tokenizers import Tokenizer
from .filling_task import filled_texts, filling_settings
from .mask_settings import mask_settings

IGNORED = -1


class MaskedLM(Trainer):
    """Trainer of a masked language model on token ids without labels, and its answers to texts with masks.

    It learns from `{"tokens", "segments"}` or tokens (B, T), as the network takes them, such as `encode_batch` of the
    tokenizer gives them. Masks are new in each step, by `seed`; those of validation stay. A network with `pair` learns
    from pairs of sentences with labels (B,), as `kerasdl.data.text.next_sentence_pairs` and `sentence_order_pairs`
    draw them, and the loss is the sum of both.

    Source: https://arxiv.org/abs/1810.04805, section 3.1.

    Args:
        network: model of `kerasdl.build("bert_masked_lm")` or its variants.
        tokenizer: a `Tokenizer` with a mask, such as `train_tokenizer(texts, special=["[MASK]"], ends=True)`.
        rate: share of the tokens that are to be answered, above 0 and below 1.
        whole_words: whether words are masked whole.
        mean_span: mean length of a masked span, in tokens or in words; 1 masks them singly.
        seed: seed of the masks.

    Raises:
        ArgumentError: network and tokenizer do not fit, or an argument breaks its range.

    Example:
        >>> tokenizer = train_tokenizer(["to be or not to be"], "word", 12, special=["[MASK]"], ends=True)
        >>> network = kerasdl.build("bert_tiny_masked_lm", length=8, vocabulary=tokenizer.vocabulary)
        >>> trainer = MaskedLM(network, tokenizer)
        >>> len(trainer.fill(["to [MASK] or not"])[0]["masks"])
        1
    """

    def __init__(
        self,
        network: keras.Model | Mapping[str, keras.Model],
        tokenizer: Tokenizer,
        *,
        rate: float = 0.15,
        whole_words: bool = False,
        mean_span: float = 1.0,
        seed: int = 0,
    ):
        super().__init__(network if isinstance(network, Mapping) else {"model": network})
        self.rate = checks.within("rate", rate, 1e-6, 1 - 1e-6)
        self.mean_span = checks.within("mean_span", mean_span, 1.0, 1e6)
        self.masks = mask_settings(tokenizer, whole_words=whole_words)
        self.tokenizer = tokenizer
        self.has_pairs = isinstance(self.main.output, Mapping)
        logits = self.main.output["logits"] if self.has_pairs else self.main.outputs[0]
        tables = [layer.input_dim for layer in self.main.layers if isinstance(layer, keras.layers.Embedding)]
        sizes = {tokenizer.vocabulary, *tables[:1]}  # hidden states may be as wide as a small vocabulary
        if len(logits.shape) != 3 or logits.shape[-1] < max(sizes) or (tables and logits.shape[-1] != tables[0]):
            rule = f"the network must give logits (B, T, V) of the {max(sizes)} ids of its tokens"
            checks.refuse(rule, tuple(logits.shape))
        self.seeds = keras.random.SeedGenerator(checks.at_least("seed", seed, 0))
        self.token_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=IGNORED)
        self.pair_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.own = [TokenAccuracy("masked_accuracy")]
        if self.has_pairs:
            self.own.append(keras.metrics.SparseCategoricalAccuracy("pair_accuracy"))

    @property
    def metrics(self) -> list:
        return list({id(each): each for each in (*super().metrics, *self.own)}.values())

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Returns the outputs of the network on masked tokens, and the tokens at the masks as `answers`.

        Args:
            inputs: tokens (B, T), or `{"tokens", "segments"}`.
            training: whether masks are new, and units dropped.
        """
        tokens = inputs["tokens"] if isinstance(inputs, Mapping) else inputs
        seed = step_seed(self.seeds, training)
        masked, answers = hide_tokens(tokens, seed, rate=self.rate, mean_span=self.mean_span, **self.masks)
        masked = tf.ensure_shape(masked, tokens.shape)
        outputs = self.main({**inputs, "tokens": masked} if isinstance(inputs, Mapping) else masked, training=training)
        return {**(outputs if self.has_pairs else {"logits": outputs}), "answers": answers}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if sample_weight is not None:
            checks.refuse("texts of pretraining must have no weights", tuple(sample_weight.shape))
        if self.has_pairs == (y is None):
            rule = "a network with pair must learn from pairs with labels (B,), and another one from texts alone"
            checks.refuse(rule, "no labels" if y is None else f"labels {tuple(y.shape)}")
        loss = self.token_loss(y_pred["answers"], y_pred["logits"]) + own_losses(self)
        return loss + self.pair_loss(y, y_pred["pair"]) if self.has_pairs else loss

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self.own[0].update_state(y_pred["answers"], y_pred["logits"])
        if self.has_pairs:
            self.own[1].update_state(y, y_pred["pair"])
        return self.get_metrics_result()

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "masks": {**self.masks, "continuing": len(self.masks["continuing"])}}

    def fill(self, texts: Sequence[str], *, batch_size: int = 64) -> list[dict[str, Any]]:
        """Returns the likeliest tokens at each mask of texts, as a bundle of the task `masked_language_modeling` does.

        Args:
            texts: texts that contain the tokenizer's mask, such as `The [MASK] is green.`
            batch_size: texts computed at once.

        Returns:
            Of each text a dict: `text` with the masks filled, and `masks`, of each its `token`, `score` and `scores`.

        Raises:
            ArgumentError: a text has no mask within the network's length.
        """
        length = keras.tree.flatten(self.main.input)[0].shape[1]
        if length is None:
            longest = self.tokenizer.encode_batch([texts] if isinstance(texts, str) else texts)
            length = int(np.shape(longest)[1])
        settings = filling_settings(self.tokenizer, length, segments=len(self.main.inputs) > 1)
        return filled_texts(self.main, texts, settings, batch_size)
