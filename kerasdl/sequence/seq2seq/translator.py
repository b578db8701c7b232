"""Translator: trainer of a network that reads one sequence and writes another, and its compiled decoding."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kerasdl.core import checks
from kerasdl.core.data_fit import check_whole
from kerasdl.metrics import TokenAccuracy
from kerasdl.train import Trainer
from kerasdl.train.trainer import own_losses

from ..token_ids import int32_ids
from .decoding import beam, encoder_and_step, greedy
from .encoder_decoder import is_recurrent, lengths_of, padding_of, parts_of
from .pairs import END, IGNORED, START, check_pairs


class _Mean(keras.losses.Loss):
    """Mean of the losses (B,) of examples, as a loss of Keras, so that strategies and weights count."""

    def call(self, y_true, y_pred):
        return y_pred


class Translator(Trainer):
    """Trainer of an encoder and a decoder, which learns by teacher forcing.

    It learns from `{"source": (B, S), "target": (B, T)}` with labels (B, T), the next token at each step or -1, as
    `teacher_forcing` makes them. The loss of an example is the mean of the cross-entropies of its tokens.

    Args:
        network: model of a registered net of the task `sequence_to_sequence`, such as `seq2seq`, `transformer_base` or
            `t5_small`.
        scheduled_sampling: share of the tokens that the decoder reads from its own answers in training, from 0 to 1;
            these answers are those to the right tokens, so that two passes replace a pass for each token
            (https://arxiv.org/abs/1506.03099; in two passes https://arxiv.org/abs/1906.04331).
        sampling_steps: updates over which this share grows from 0.
        coverage: weight of the coverage loss, 0 or more, against reading one place of the source again and again
            (https://arxiv.org/abs/1704.04368, equation 12; the sum of past attention is not fed to the score).
        seed: seed of scheduled sampling.

    Raises:
        ArgumentError: the network is another, an argument breaks its range, or it has no attention to cover.

    Example:
        >>> network = kerasdl.build("seq2seq", length=6, target_length=5, vocabulary=20, embedding=8, units=8)
        >>> Translator(network).translate([[5, 6, 7, 3, 0, 0]]).shape
        (1, 5)
    """

    def __init__(
        self,
        network: keras.Model | Mapping[str, keras.Model],
        *,
        scheduled_sampling: float = 0.0,
        sampling_steps: int = 1000,
        coverage: float = 0.0,
        seed: int = 0,
    ):
        super().__init__(network if isinstance(network, Mapping) else {"model": network})
        parts = parts_of(self.main) if is_recurrent(self.main) else {}
        self.padding = padding_of(self.main)
        self.scheduled_sampling = checks.within("scheduled_sampling", scheduled_sampling, 0.0, 1.0)
        self.sampling_steps = checks.at_least("sampling_steps", sampling_steps, 1)
        self.coverage = checks.within("coverage", coverage, 0.0, 100.0)
        if coverage and "attention" not in parts:
            checks.refuse("coverage needs a network with attention", self.main.name, "Leave coverage out.")
        outputs = [self.main.output, *([parts["attention"].output[1]] if "attention" in parts else [])]
        # No attribute of Keras, which would count the layers of `main` once more.
        object.__setattr__(self, "aligned", keras.Model(self.main.input, outputs))
        self.seeds = keras.random.SeedGenerator(checks.at_least("seed", seed, 0))
        self.mean, self.accuracy = _Mean(name="sequence_mean"), TokenAccuracy()
        self.compiled_steps: dict[tuple, Any] = {}

    @property
    def metrics(self) -> list:
        return list({id(each): each for each in (*super().metrics, self.accuracy)}.values())

    def check_data(self, data):
        check_pairs(data, self.main.output.shape[-1])

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if sample_weight is not None and len(sample_weight.shape) > 1 and sample_weight.shape[-1] != 1:
            hint = "Set the labels of tokens that do not count to -1."
            checks.refuse("weights of a translator must be one number a sequence", tuple(sample_weight.shape), hint)
        logits, alignment = y_pred, None
        samples = training and self.scheduled_sampling > 0
        if samples or self.coverage:
            target = self._mixed(x["target"], y_pred) if samples else x["target"]
            logits, *alignment = keras.tree.flatten(
                self.aligned({"source": x["source"], "target": target}, training=training)
            )
        counted = ops.cast(ops.not_equal(y, IGNORED), "float32")  # (B, T)
        losses = ops.sparse_categorical_crossentropy(ops.maximum(y, 0), logits, from_logits=True)
        if self.coverage:
            losses = losses + self.coverage * repeated_attention(alignment[0])
        by_example = ops.sum(losses * counted, axis=1) / ops.maximum(ops.sum(counted, axis=1), 1.0)
        return self.mean(ops.zeros_like(by_example), by_example, sample_weight) + own_losses(self)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self.accuracy.update_state(y, y_pred, sample_weight)
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def _mixed(self, target: Any, logits: Any) -> Any:
        """Returns what the decoder reads, with a share of its own answers; the start token stays."""
        done = ops.cast(self.optimizer.iterations if self.optimizer else self.sampling_steps, "float32")
        share = self.scheduled_sampling * ops.minimum(done / self.sampling_steps, 1.0)
        own = ops.cast(ops.argmax(logits[:, :-1], axis=-1), target.dtype)
        taken = keras.random.uniform(ops.shape(own), seed=self.seeds) < share
        rest = ops.where(taken & (target[:, 1:] != self.padding), own, target[:, 1:])
        return ops.concatenate([target[:, :1], rest], axis=1)

    # Decoding

    @property
    def lengths(self) -> tuple[int | None, int | None]:
        """Tokens of a source and of a target that the network takes; None where any."""
        return lengths_of(self.main)

    def translate(
        self,
        source: Any,
        *,
        length: int | None = None,
        width: int = 1,
        length_penalty: float = 0.6,
        batch_size: int = 64,
        start: int = START,
        end: int = END,
    ) -> np.ndarray:
        """Returns an answer to each source, in one compiled loop over tokens.

        Args:
            source: token ids (B, S), as long as the network takes them, with its padding behind them: 0, unless it was
                built with another.
            length: tokens at most; None takes the length of the network's targets.
            width: hypotheses that are kept; 1 takes the likeliest next token again and again.
            length_penalty: alpha of a beam, from 0 to 10, which favours long answers
                (https://arxiv.org/abs/1609.08144, equation 14).
            batch_size: sources at once.
            start: token behind which the decoder writes; the weights of T5 want 0, those of BART 2.
            end: token that ends an answer; the weights of T5 want 1, those of BART 2.

        Returns:
            Token ids (B, length) int32, the end token included, padding behind it.

        Raises:
            ArgumentError: an argument breaks its rule, no length is known, the network has no such token, or its
                logits are no numbers.
        """
        source, length = self._checked(source, length)
        checks.at_least("batch_size", batch_size, 1)
        checks.at_least("width", width, 1)
        checks.within("length_penalty", length_penalty, 0.0, 10.0)
        for name, token in {"start": start, "end": end}.items():
            checks.within(name, token, 0, self.main.output.shape[-1] - 1)
        search = {"width": width, "length_penalty": float(length_penalty) if width > 1 else None}
        step = self._compiled(source.shape[1], length, {**search, "start": start, "end": end})
        starts = range(0, len(source), batch_size)
        written = np.concatenate([step(source[start : start + batch_size]).numpy() for start in starts])
        if (written < 0).any():
            checks.refuse("logits of a network that writes must be finite", "NaN", "Look at its training.")
        return written

    def alignment(self, source: Any, target: Any) -> np.ndarray:
        """Returns how strongly the decoder attends to each token of the source while it reads a target.

        Args:
            source: token ids (B, S).
            target: tokens that the decoder reads (B, T), the start token first.

        Returns:
            (B, T, S) float32, of sum 1 over S.

        Raises:
            ArgumentError: the network has no attention.
        """
        if len(self.aligned.outputs) < 2:
            checks.refuse("alignment needs a network with attention", self.main.name)
        fed = {"source": np.asarray(source, np.int32), "target": np.asarray(target, np.int32)}
        return np.asarray(self.aligned(fed, training=False)[1])

    def _checked(self, source: Any, length: int | None) -> tuple[np.ndarray, int]:
        source, (own, longest) = np.asarray(source), self.lengths
        if source.ndim != 2 or source.dtype.kind not in "iu" or own not in (None, source.shape[1]) or not source.size:
            rule = f"source must be token ids (B, {own or 'S'})"
            checks.refuse(rule, f"{source.dtype} {source.shape}", f"Pad with {self.padding}; give one source as [ids].")
        if length is None and longest is None:
            checks.refuse("length must be given where the network takes targets of any length", None)
        length = longest if length is None else checks.at_least("length", length, 1)
        (tensor,) = (each for each in self.main.inputs if each.name == "source")
        check_whole(self.main, tensor, source, "source")
        return int32_ids(source), length

    def _compiled(self, source_length: int, length: int, search: Mapping[str, Any]) -> Any:
        """Returns the compiled function from sources to token ids, in the present precision."""
        policies = tuple(layer.compute_dtype for layer in self.main.layers)
        key = (source_length, length, *search.values(), policies)
        if key not in self.compiled_steps:
            halves = encoder_and_step({"model": self.main}, length)
            ids = {"start": search["start"], "end": search["end"], "padding": self.padding}

            @tf.function(input_signature=[tf.TensorSpec((None, source_length), tf.int32)])
            def step(source):
                if search["width"] == 1:
                    return greedy(halves, source, length, **ids)
                return beam(halves, source, length, search["width"], search["length_penalty"], **ids)

            self.compiled_steps[key] = step
        return self.compiled_steps[key]


def repeated_attention(alignment: Any) -> Any:
    """Returns the attention (B, T) to places of the source that were attended before: sums of min(now, until now).

    Source: https://arxiv.org/abs/1704.04368, equation 12.
    """
    before = ops.cumsum(alignment, axis=1) - alignment
    return ops.sum(ops.minimum(alignment, before), axis=-1)
