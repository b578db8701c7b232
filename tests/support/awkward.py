"""Small models that exporters stumble over, each with real inputs: `MODELS[name]()`.

A model stands here for one thing that a user's net may hold. docs/awkward.md shows what Keras's own exporters make of
each, and what ours do.
"""

import awkward_builders as b
import keras
import numpy as np
import tensorflow as tf
from awkward_builders import IMAGE, SEQUENCE, SQUARE, VOLUME, Bare, Cell, one
from keras import ops

L = keras.layers

RECURRENT = {
    "lstm": lambda: one(L.LSTM(5), SEQUENCE),
    "gru_states": lambda: one(L.GRU(5, return_sequences=True, return_state=True), SEQUENCE),
    "simple_rnn_backwards": lambda: one(L.SimpleRNN(5, return_sequences=True, go_backwards=True), SEQUENCE),
    "lstm_relu": lambda: one(L.LSTM(5, activation="relu", recurrent_activation="hard_sigmoid"), SEQUENCE),
    "gru_reset_before": lambda: one(L.GRU(5, reset_after=False, dropout=0.3, recurrent_dropout=0.3), SEQUENCE),
    "stacked_lstm_gru": lambda: one(lambda x: L.GRU(4)(L.LSTM(5, return_sequences=True)(x)), SEQUENCE),
    "bilstm": lambda: one(L.Bidirectional(L.LSTM(5, return_sequences=True)), SEQUENCE),
    "bigru_sum": lambda: one(L.Bidirectional(L.GRU(5), merge_mode="sum"), SEQUENCE),
    "rnn_of_cells": lambda: one(L.RNN([L.LSTMCell(5), L.GRUCell(4)], return_sequences=True), SEQUENCE),
    "rnn_of_own_cell": lambda: one(L.RNN(Cell(5)), SEQUENCE),
    "lstm_padded": lambda: b.padded(L.LSTM(5)),
    "bigru_padded": lambda: b.padded(L.Bidirectional(L.GRU(5))),
    "gru_masking": lambda: b.masking(L.GRU(5, return_sequences=True)),
    "lstm_zeros_where_masked": lambda: b.masking(
        L.RNN(L.LSTMCell(5), return_sequences=True, zero_output_for_mask=True)
    ),
    "gru_initial_state": b.initial_state,
    "lstm_stateful": b.stateful,
    "lstm_free_time": lambda: one(L.LSTM(5), (None, 4)),
    "seq2seq_attention": b.seq2seq,
    "lstm_autoencoder": b.autoencoder,
    "crnn": b.crnn,
    "conv_lstm_1d": lambda: one(L.ConvLSTM1D(3, 3), (4, 8, 2)),
    "conv_lstm_2d": lambda: one(L.ConvLSTM2D(3, 3, padding="same", return_sequences=True), (3, 6, 6, 2)),
    "time_distributed_conv": lambda: one(L.TimeDistributed(L.Conv2D(3, 3)), (4, 8, 8, 2)),
    "time_distributed_lstm": lambda: one(L.TimeDistributed(L.LSTM(3)), (3, *SEQUENCE)),
    "time_distributed_free": lambda: one(L.TimeDistributed(L.Dense(3, activation="tanh")), (None, 4)),
}
ACTIVATIONS = {
    "gelu_exact": lambda: one(L.Dense(5, activation="gelu"), SEQUENCE),
    "celu": lambda: one(L.Dense(5, activation="celu"), SEQUENCE),
    "sparsemax": lambda: one(L.Activation("sparsemax"), SEQUENCE),
    "squareplus": lambda: one(L.Activation("squareplus"), SEQUENCE),
    "hard_shrink": lambda: one(L.Activation("hard_shrink"), SEQUENCE),
    "log_softmax": lambda: one(L.Activation("log_softmax"), SEQUENCE),
    "prelu": lambda: one(L.PReLU(shared_axes=[1]), SEQUENCE),
}
CONVOLUTIONS = {
    "grouped_conv_1d": lambda: one(L.Conv1D(6, 3, groups=2, padding="same"), SEQUENCE),
    "grouped_conv_2d": lambda: one(L.Conv2D(6, 3, groups=2, padding="same"), IMAGE),
    "grouped_conv_2d_strided": lambda: one(L.Conv2D(8, 3, groups=4, strides=2), IMAGE),
    "grouped_conv_3d": lambda: one(L.Conv3D(6, 3, groups=2), VOLUME),
    "resnext_block": lambda: b.conv_net(groups=4),
    "convnext_block": b.convnext_block,
    "depthwise_dilated": lambda: one(L.DepthwiseConv2D(3, dilation_rate=2, padding="same", depth_multiplier=2), IMAGE),
    "separable_conv_1d": lambda: one(L.SeparableConv1D(6, 3, strides=2, padding="same", depth_multiplier=2), SEQUENCE),
    "causal_conv_1d": lambda: one(L.Conv1D(6, 3, padding="causal", dilation_rate=2), (None, 4)),
    "transposed_conv_1d": lambda: one(L.Conv1DTranspose(3, 3, strides=2, padding="same"), SEQUENCE),
    "transposed_conv_gaps": lambda: one(L.Conv2DTranspose(3, 2, strides=3, padding="same"), IMAGE),
    "transposed_conv_3d": lambda: one(L.Conv3DTranspose(3, 3, strides=2, padding="same"), VOLUME),
    "padded_max_pooling": b.padded_pooling,
    "conv_3d": lambda: one(L.Conv3D(3, 3, strides=2, padding="same"), VOLUME),
    "adaptive_pooling": lambda: one(L.AdaptiveAveragePooling2D((2, 3)), IMAGE),
    "free_height_and_width": lambda: one(L.Conv2D(4, 3, groups=2), (None, None, 4)),
}
NORMALIZATIONS = {
    "normalization": lambda: one(L.Normalization(mean=[0.1, 2, -3, 0], variance=[4.0, 1, 2, 0.3]), (4,)),
    "normalization_adapted": b.adapted,
    "group_normalization": lambda: one(L.GroupNormalization(2), IMAGE),
    "rms_normalization": lambda: one(L.RMSNormalization(), IMAGE),
    "unit_normalization": lambda: one(L.UnitNormalization(), IMAGE),
    "layer_normalization_axes": lambda: one(L.LayerNormalization(axis=[1, 2, 3]), IMAGE),
    "spectral_normalization": lambda: one(L.SpectralNormalization(L.Conv2D(3, 3)), IMAGE),
}
PREPROCESSING = {
    "discretization": lambda: one(L.Discretization(bin_boundaries=[-1.0, 0.0, 0.5]), (4,)),
    "discretization_one_hot": lambda: one(
        L.Discretization(bin_boundaries=[-1.0, 0.0, 0.5], output_mode="multi_hot"), (4,)
    ),
    "category_encoding": lambda: one(L.CategoryEncoding(6, output_mode="count"), (4,), dtype="int32", high=6),
    "integer_lookup": lambda: one(L.IntegerLookup(vocabulary=[3, 5, 1]), (4,), dtype="int64"),
    "looked_up": b.looked_up,
    "hashing": lambda: one(L.Hashing(6), (4,), dtype="int32"),
    "random_flip": lambda: b.augmented(L.RandomFlip()),
    "random_rotation": lambda: b.augmented(L.RandomRotation(0.3)),
    "random_zoom": lambda: b.augmented(L.RandomZoom(0.3)),
    "random_contrast": lambda: b.augmented(L.RandomContrast(0.5), L.RandomBrightness(0.3, value_range=(0, 1))),
    "random_translation": lambda: b.augmented(L.RandomTranslation(0.2, 0.2), L.RandomShear(0.2, 0.2)),
    "gaussian_noise": lambda: b.augmented(L.GaussianNoise(0.5), L.GaussianDropout(0.3), L.AlphaDropout(0.3)),
    "spectrogram": lambda: one(L.STFTSpectrogram(frame_length=16, frame_step=8, fft_length=16), (64, 1)),
    "mel_spectrogram": lambda: one(
        L.MelSpectrogram(fft_length=32, sequence_stride=16, sampling_rate=800, num_mel_bins=6, max_freq=300), (128,)
    ),
    "resize_bicubic": lambda: one(L.Resizing(5, 17, interpolation="bicubic"), IMAGE),
    "resize_antialias": lambda: one(L.Resizing(5, 7, interpolation="bilinear", antialias=True), IMAGE),
    "resize_lanczos": lambda: one(L.Resizing(5, 17, interpolation="lanczos3", antialias=True), IMAGE),
    "resize_nearest": lambda: one(L.Resizing(5, 17, interpolation="nearest"), IMAGE),
    "upsampling_bilinear": lambda: one(L.UpSampling2D(2, interpolation="bilinear"), IMAGE),
}
ATTENTION = {
    "attention_causal": lambda: b.attention(L.MultiHeadAttention(2, 4), use_causal_mask=True),
    "attention_causal_free_time": lambda: b.attention(L.MultiHeadAttention(2, 4), (None, 8), use_causal_mask=True),
    "attention_mask": b.attention_mask,
    "attention_padded": lambda: b.padded(lambda x: L.MultiHeadAttention(2, 4)(x, x)),
    "grouped_query_attention": lambda: b.attention(L.GroupQueryAttention(4, 4, 2), use_causal_mask=True),
    "additive_attention": lambda: one(L.AdditiveAttention(), (7, 8), (5, 8)),
    "encoder_block": b.encoder_block,
    "shifted_windows": lambda: one(Bare(b.windows), (8, 8, 3)),
}
PRECISION = {
    "mixed_bfloat16": lambda: b.conv_net("mixed_bfloat16"),
    "mixed_float16": lambda: b.conv_net("mixed_float16"),
    "mixed_bfloat16_encoder": lambda: b.encoder_block("mixed_bfloat16"),
}
OPERATIONS = {
    "roll": lambda: one(lambda x: ops.roll(x, 2, axis=1), SEQUENCE),
    "roll_free": lambda: one(lambda x: ops.roll(x, (-1, 3), axis=(1, 2)), (None, 4)),
    "einsum": lambda: one(lambda x: ops.einsum("bhwc,bkwc->bhwk", x, x), IMAGE),
    "einsum_of_three": lambda: one(lambda x: ops.einsum("bij,bkj,bkl->bil", x, x, x), SEQUENCE),
    "einsum_diagonal": lambda: one(Bare(lambda x: ops.einsum("bii->bi", x)), SQUARE),
    "einsum_dense": lambda: one(L.EinsumDense("abc,cde->abde", (None, 3, 5), bias_axes="de"), SEQUENCE),
    "erf": lambda: one(ops.erf, SEQUENCE),
    "erfinv": lambda: one(lambda x: ops.erfinv(ops.tanh(x)), SEQUENCE),
    "logsumexp": lambda: one(lambda x: ops.logsumexp(x, axis=-1), SEQUENCE),
    "log1p_expm1": lambda: one(lambda x: ops.log1p(ops.exp(x)) + ops.expm1(x), SEQUENCE),
    "arctan2": lambda: one(lambda x: ops.arctan2(x[:, :3], x[:, 3:6]), SEQUENCE),
    "cumsum": lambda: one(lambda x: ops.cumsum(x, axis=1), SEQUENCE),
    "cumprod": lambda: one(lambda x: ops.cumprod(x, axis=1), SEQUENCE),
    "top_k": lambda: one(lambda x: list(ops.top_k(x, 2)), SEQUENCE),
    "sort": lambda: one(lambda x: [ops.sort(x, axis=1), ops.argsort(x, axis=-1)], SEQUENCE),
    "median": lambda: one(lambda x: ops.median(x, axis=1), SEQUENCE),
    "searchsorted": lambda: one(Bare(lambda x: ops.digitize(x, np.array([-1, 0, 1.5], "float32"))), SEQUENCE),
    "one_hot_argmax": b.argmax_of_zeros,
    "segment_sum": lambda: one(Bare(b.segments), SEQUENCE),
    "selected_scores": b.selected,
    "rfft": lambda: one(lambda x: list(ops.rfft(x)), (3, 16)),
    "fourier_mixer": b.fourier_mixer,
    "istft": lambda: one(lambda x: ops.irfft(ops.rfft(x)), (3, 16)),
    "non_max_suppression": lambda: b.one_by_one(b.suppressed, (12, 5)),
    "crop_and_resize": lambda: b.one_by_one(
        lambda x: tf.image.crop_and_resize(x, [[0.1, 0.1, 0.7, 0.8], [0, 0, 1, 1]], [0, 0], (4, 4)), IMAGE
    ),
    "extract_patches": lambda: one(lambda x: ops.image.extract_patches(x, 3), IMAGE),
    "affine_transform": lambda: one(
        Bare(lambda x: ops.image.affine_transform(x, tf.constant([1.0, 0.1, 0, 0.1, 1, 0, 0, 0]))), IMAGE
    ),
    "while_loop": lambda: one(
        Bare(lambda x: ops.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, ops.tanh(y)), (0, x))[1]), SEQUENCE
    ),
    "scan": lambda: one(Bare(b.scanned), SEQUENCE),
    "slice_update": lambda: one(Bare(lambda x: ops.slice_update(x, (0, 1, 0), x[:, :2] * 2)), SEQUENCE),
    "inverse_matrix": lambda: one(lambda x: ops.inv(x + 4 * ops.eye(4)), SQUARE),
    "floor_mod": lambda: one(lambda x: ops.mod(x, 0.3) + ops.floor_divide(x, 0.7), SEQUENCE),
    "integers": lambda: one(Bare(lambda x: ops.bitwise_xor(x // 3 + x % 4, 5)), SEQUENCE, dtype="int32", high=50),
    "reverse_sequence": lambda: one(
        Bare(lambda x: tf.reverse_sequence(x, tf.ones_like(x[:, 0, 0], tf.int32) * 3, 1, 0)), SEQUENCE
    ),
}
STRUCTURES = {
    "nested": b.nested,
    "dicts": b.dicts,
    "unordered_inputs": b.unordered,
    "odd_names": b.odd_names,
    "same_outputs": b.same_outputs,
    "shared_layer": b.shared,
    "never_used_weight": b.never_used,
    "late_sequential": b.late_sequential,
    "subclassed": b.subclassed,
    "uint8_images": lambda: one(
        lambda x: L.Conv2D(4, 3, activation="gelu")(L.Rescaling(1 / 127.5, -1)(x)), (9, 9, 3), dtype="uint8", high=256
    ),
    "one_number_an_example": lambda: one(lambda x: ops.mean(L.Dense(3)(x), axis=(1, 2)), SEQUENCE),
    "scalar": lambda: b.one_by_one(lambda x: tf.reduce_sum(tf.nn.gelu(x)), SEQUENCE),
}
MODELS = {
    **RECURRENT,
    **ACTIVATIONS,
    **CONVOLUTIONS,
    **NORMALIZATIONS,
    **PREPROCESSING,
    **ATTENTION,
    **PRECISION,
    **OPERATIONS,
    **STRUCTURES,
}

# Files are compared with the model in float32, which rounds to more digits than one of reduced precision.
IN_FLOAT32 = {"mixed_bfloat16": b.conv_net, "mixed_float16": b.conv_net, "mixed_bfloat16_encoder": b.encoder_block}
ROUNDING = {"mixed_bfloat16": 0.03, "mixed_float16": 0.003, "mixed_bfloat16_encoder": 0.03}
# What a format has no operation for, or no place.
REFUSED = {
    ("lstm_stateful", "onnx"): "keeps no state between calls",
    ("hashing", "tflite"): "AsString of layer 'hashing",
    ("hashing", "onnx"): "StringToHashBucketFast of layer 'hashing",
    ("einsum_diagonal", "tflite"): "Einsum of layer",
    ("crop_and_resize", "tflite"): "CropAndResize of layer",
    ("affine_transform", "tflite"): "ImageProjectiveTransformV3 of layer",
    ("affine_transform", "onnx"): "ImageProjectiveTransformV3 of layer",
    ("scan", "onnx"): "TensorListReserve of layer",
    ("inverse_matrix", "tflite"): "MatrixInverse of a function",
    ("inverse_matrix", "onnx"): "MatrixInverse of a function",
}
