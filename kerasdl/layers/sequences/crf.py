"""Linear-chain conditional random field as a layer (https://arxiv.org/abs/1603.01360, section 2.2)."""

import keras

from kerasdl.core import checks
from kerasdl.ops import chain_potentials


@keras.saving.register_keras_serializable("kerasdl")
class CRF(keras.layers.Layer):
    """Conditional random field over the tags of a sequence: scores of tokens become scores of pairs of tags.

    It holds the scores of transitions, of the first and of the last tag. `kerasdl.losses.CRFLoss` trains on its output;
    `viterbi`, `chain_marginals` and `constrain_chain` of `kerasdl.ops` read it. The output holds the whole chain: to
    decode a saved or exported net, no further weights are needed. It is computed in float32 whatever the policy.

    Source: Lafferty et al. 2001, https://repository.upenn.edu/cis_papers/159; Lample et al. 2016,
    https://arxiv.org/abs/1603.01360, section 2.2.

    Args:
        initializer: initializer of the transitions; start and end begin at zero.
        name: as in Keras.
        dtype: as in Keras; float32 by default, since long sums of narrow numbers round.
        trainable: as in Keras.

    Input:
        Logits (B, T, K), or a list of them and a mask (B, T) of booleans, true at tokens.

    Returns:
        Potentials (B, T, K, K) in float32: [t, i, j] is the score of tag j at t after tag i.

    Raises:
        ArgumentError: the input has another form, or K is not known.

    Example:
        >>> CRF()([keras.Input((7, 5)), keras.Input((7,), dtype="bool")]).shape
        (None, 7, 5, 5)
    """

    def __init__(self, initializer="glorot_uniform", *, name: str | None = None, dtype="float32", trainable=True):
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.initializer = keras.initializers.get(initializer)
        self.supports_masking = True  # that is, nothing is lost if Keras hands one on: the mask is an input

    def build(self, input_shape):
        shape = input_shape[0] if isinstance(input_shape, list) else input_shape
        if len(shape) != 3 or shape[-1] is None:
            checks.refuse("a CRF must have logits (B, T, K), K known", shape)
        tags = shape[-1]
        self.transitions = self.add_weight(shape=(tags, tags), initializer=self.initializer, name="transitions")
        self.start = self.add_weight(shape=(tags,), initializer="zeros", name="start")
        self.end = self.add_weight(shape=(tags,), initializer="zeros", name="end")
        self.built = True

    def call(self, inputs):
        logits, mask = inputs if isinstance(inputs, (list, tuple)) else (inputs, None)
        return chain_potentials(logits, self.transitions, self.start, self.end, mask)

    def compute_mask(self, inputs, previous_mask):
        return None

    def compute_output_shape(self, input_shape):
        shape = input_shape[0] if isinstance(input_shape, list) else input_shape
        return (*shape, shape[-1])

    def get_config(self):
        return {**super().get_config(), "initializer": keras.initializers.serialize(self.initializer)}
