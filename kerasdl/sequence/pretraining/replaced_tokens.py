"""ELECTRA's pretraining: a generator fills masks, and a discriminator tells its tokens from those of the text.

Source: https://arxiv.org/abs/2003.10555, sections 2 and 3.

Deviations: both networks have embeddings of their own, while the paper shares those of the discriminator with its
generator; all drawn tokens become masks.
"""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import layers, ops

from kerasdl.core import checks
from kerasdl.data.text import hide_tokens
from kerasdl.layers import TanhGELU
from kerasdl.metrics import TokenAccuracy
from kerasdl.train import Trainer
from kerasdl.train.trainer import own_losses, step_seed

from ..text_inputs import padding_of
from ..tokenizers import Tokenizer
from ..transformer.text_heads import chosen_encoder
from .mask_settings import mask_settings

WEIGHT = 50.0
"""Factor of the discriminator's loss, the paper's lambda."""


def replaced_token_detector(length: int | None = 128, *, encoder: str = "electra_small", **sizes: Any) -> keras.Model:
    """Discriminator of ELECTRA: an encoder and, at each token, one logit: whether the token was replaced.

    Source: https://arxiv.org/abs/2003.10555, section 2.

    Args:
        length: T, tokens in a padded text, or None for any.
        encoder: a name of the family's encoders, as of `bert_classifier`.
        **sizes: its sizes, as there.

    Returns:
        A model from the inputs of the encoder to logits (B, T) in float32. Its layers have the names of those of the
        encoder, which a classifier takes by `take_weights`.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> replaced_token_detector(16, vocabulary=100, depth=2).output_shape
        (None, 16)
    """
    chosen, inputs, arguments = chosen_encoder(encoder, length, sizes)
    states = chosen.features(**inputs, **arguments)  # (B, T, D)
    own = arguments.get("activation", "gelu")
    x = layers.Dense(states.shape[-1], name="detector_dense")(states)
    gelu = own == "gelu_tanh"
    x = TanhGELU(name="detector_gelu_tanh")(x) if gelu else layers.Activation(own, name=f"detector_{own}")(x)
    x = layers.Dense(1, dtype="float32", name="detector")(x)
    logits = layers.Reshape((-1,), dtype="float32", name="detector_logits")(x)  # (B, T)
    return keras.Model(inputs if len(inputs) > 1 else inputs["tokens"], logits, name=f"{chosen.network}_detector")


class ReplacedTokens(Trainer):
    """Trainer of ELECTRA's two networks on token ids without labels.

    The generator learns to fill masks. Tokens drawn from its answers stand in their places, and the discriminator, the
    main network, learns for each token whether it is another than that of the text. No gradient goes from it to the
    generator.

    Source: https://arxiv.org/abs/2003.10555, section 2, and section 3.1 for the loss.

    Args:
        network: model of `replaced_token_detector`, or both networks by role, `model` and `generator`.
        generator: masked language model with the same inputs, such as `kerasdl.build("electra_generator")`; the paper's
            is 4 to 2 times narrower. None where both came by role.
        tokenizer: a `Tokenizer` with a mask.
        rate: share of the tokens that are masked, above 0 and below 1.
        weight: factor of the discriminator's loss, from 0 to 1000.
        seed: seed of masks and of drawn tokens.

    Raises:
        ArgumentError: networks and tokenizer do not fit, or an argument breaks its range.

    Example:
        >>> tokenizer = train_tokenizer(["to be or not to be"], "word", 12, special=["[MASK]"], ends=True)
        >>> sizes = dict(length=8, vocabulary=tokenizer.vocabulary, width=32, depth=1, heads=2, hidden=64)
        >>> trainer = ReplacedTokens(
        ...     replaced_token_detector(encoder="bert_tiny", **sizes),
        ...     kerasdl.build("bert_tiny_masked_lm", **sizes),
        ...     tokenizer=tokenizer,
        ... )
        >>> list(trainer.networks)
        ['model', 'generator']
    """

    def __init__(
        self,
        network: keras.Model | Mapping[str, keras.Model],
        generator: keras.Model | None = None,
        *,
        tokenizer: Tokenizer,
        rate: float = 0.15,
        weight: float = WEIGHT,
        seed: int = 0,
    ):
        super().__init__(network if isinstance(network, Mapping) else {"model": network, "generator": generator})
        if set(self.networks) != {"model", "generator"}:
            checks.refuse("networks must have the roles model and generator", sorted(self.networks))
        self.generator = self.networks["generator"]
        self.rate = checks.within("rate", rate, 1e-6, 1 - 1e-6)
        self.weight = checks.within("weight", weight, 0.0, 1000.0)
        self.masks = mask_settings(tokenizer)
        self.padding = padding_of(self.main)
        shapes = [tuple(each.outputs[0].shape) for each in (self.main, self.generator)]
        if len(shapes[0]) != 2 or len(shapes[1]) != 3 or shapes[1][-1] < tokenizer.vocabulary:
            rule = f"the networks must give logits (B, T), and (B, T, V) of the {tokenizer.vocabulary} ids"
            checks.refuse(rule, shapes)
        self.seeds = keras.random.SeedGenerator(checks.at_least("seed", seed, 0))
        self.token_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
        self.detector_loss = keras.losses.BinaryCrossentropy(from_logits=True)
        self.own = [
            TokenAccuracy("masked_accuracy"),
            keras.metrics.BinaryAccuracy("detected"),
            keras.metrics.Mean("replaced"),
        ]

    @property
    def metrics(self) -> list:
        return list({id(each): each for each in (*super().metrics, *self.own)}.values())

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Returns logits of both networks, the answers of the generator, and which tokens were replaced.

        Args:
            inputs: tokens (B, T), or `{"tokens", "segments"}`.
            training: whether masks are new, and units dropped.
        """
        tokens = inputs["tokens"] if isinstance(inputs, Mapping) else inputs

        def read(network: keras.Model, ids: Any) -> Any:
            ids = tf.ensure_shape(ids, tokens.shape)
            return network({**inputs, "tokens": ids} if isinstance(inputs, Mapping) else ids, training=training)

        seed = step_seed(self.seeds, training)
        masked, answers = hide_tokens(tokens, seed, rate=self.rate, masked=1.0, random=0.0, **self.masks)
        logits = read(self.generator, masked)
        noise = tf.random.stateless_uniform(tf.shape(logits), seed + 1, 1e-6, 1.0)
        drawn = tf.argmax(tf.stop_gradient(logits) - tf.math.log(-tf.math.log(noise)), axis=-1, output_type=tf.int32)
        corrupted = tf.where(answers >= 0, drawn, tf.cast(tokens, tf.int32))
        replaced = tf.cast(corrupted != tf.cast(tokens, tf.int32), tf.float32)
        return {"detected": read(self.main, corrupted), "logits": logits, "answers": answers, "replaced": replaced}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if y is not None or sample_weight is not None:
            checks.refuse("texts of this pretraining must have no labels and no weights", "labels or weights")
        loss = self.token_loss(y_pred["answers"], y_pred["logits"]) + own_losses(self)
        truth, logits = y_pred["replaced"][..., None], y_pred["detected"][..., None]
        return loss + self.weight * self.detector_loss(truth, logits, self._counted(x))

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        counted = self._counted(x)
        self.own[0].update_state(y_pred["answers"], y_pred["logits"])
        self.own[1].update_state(y_pred["replaced"][..., None], ops.sigmoid(y_pred["detected"])[..., None], counted)
        self.own[2].update_state(y_pred["replaced"], counted)
        return self.get_metrics_result()

    def _counted(self, x: Any) -> Any:
        """Returns 1 for each token (B, T) but the padding, which no discriminator is asked about."""
        tokens = x["tokens"] if isinstance(x, Mapping) else x
        return ops.cast(ops.not_equal(tokens, self.padding), "float32")
