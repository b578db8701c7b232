"""Models of one layer each, and comparisons of what a bridged model computes."""

import keras
import numpy as np

from kerasdl.deploy.export.tracing import for_inference
from kerasdl.deploy.keras2.verification import random_inputs
from kerasdl.layers import DotProductAttention, LearnedPositions, RotaryEmbedding, TanhGELU

L = keras.layers
IMAGE, VOLUME, SEQUENCE = (8, 8, 4), (5, 5, 5, 2), (10, 6)


def numbers_for(model, seed=1):
    """Returns random inputs in the structure that the model takes."""
    return keras.tree.pack_sequence_as(model._inputs_struct, random_inputs(model, seed))


def gap(model, other, inputs=None):
    """Returns the largest difference between two models' outputs over max(1, largest output), in float32."""
    inputs = numbers_for(model) if inputs is None else inputs
    with for_inference(model):
        expected = keras.tree.flatten(model(inputs, training=False))
    given = keras.tree.flatten(other(inputs, training=False))
    assert len(expected) == len(given)
    return max(map(_gap, map(np.asarray, expected), map(np.asarray, given)))


def _gap(expected, given):
    assert expected.shape == given.shape
    expected, given = expected.astype("float64"), given.astype("float64")
    return np.abs(expected - given).max() / max(1.0, np.abs(expected).max())


def one(shape, make, **settings):
    """Returns a function that makes a model of one layer."""

    def build():
        inputs = keras.Input(shape, **settings)
        return keras.Model(inputs, make()(inputs))

    return build


def several(shape, count, call):
    """Returns a function that makes a model of one layer on several inputs."""

    def build():
        inputs = [keras.Input(shape) for _ in range(count)]
        return keras.Model(inputs, call(inputs))

    return build


WITH_COUNTERPART = {
    "dense": one((5,), lambda: L.Dense(4, activation="relu", kernel_regularizer="l2", bias_constraint="non_neg")),
    "dense_silu": one((5,), lambda: L.Dense(4, activation="silu")),
    "einsum_dense": one(SEQUENCE, lambda: L.EinsumDense("abc,cde->abde", (None, 3, 5), bias_axes="de")),
    "einsum_dense_odd": one(SEQUENCE, lambda: L.EinsumDense("abc,cd->adb", (3, 10), bias_axes="d")),
    "embedding": one((7,), lambda: L.Embedding(9, 4), dtype="int32"),
    "conv1d": one(SEQUENCE, lambda: L.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="gelu")),
    "conv1d_strided": one(SEQUENCE, lambda: L.Conv1D(4, 5, strides=3, padding="same", use_bias=False)),
    "conv2d": one(IMAGE, lambda: L.Conv2D(6, 3, strides=2, groups=2, padding="same", activation="elu")),
    "conv3d": one(VOLUME, lambda: L.Conv3D(3, 2)),
    "conv1d_transpose": one(SEQUENCE, lambda: L.Conv1DTranspose(4, 3, strides=2, padding="same")),
    "conv2d_transpose": one(IMAGE, lambda: L.Conv2DTranspose(4, 3, strides=2, output_padding=1)),
    "conv3d_transpose": one(VOLUME, lambda: L.Conv3DTranspose(3, 2, strides=2)),
    "depthwise1d": one(SEQUENCE, lambda: L.DepthwiseConv1D(3, strides=2, depth_multiplier=2)),
    "depthwise2d": one(IMAGE, lambda: L.DepthwiseConv2D(3, dilation_rate=2, activation="tanh")),
    "separable1d": one(SEQUENCE, lambda: L.SeparableConv1D(4, 3, strides=2, depth_multiplier=2, activation="relu")),
    "separable2d": one(IMAGE, lambda: L.SeparableConv2D(4, 3, depth_multiplier=2, padding="same")),
    "batch_norm": one(IMAGE, lambda: L.BatchNormalization(axis=1, epsilon=0.01, center=False)),
    "layer_norm": one(SEQUENCE, lambda: L.LayerNormalization(axis=[1, 2], epsilon=1e-2)),
    "group_norm": one(IMAGE, lambda: L.GroupNormalization(2)),
    "unit_norm": one(SEQUENCE, lambda: L.UnitNormalization(axis=1)),
    "rescaling": one(IMAGE, lambda: L.Rescaling([1.0, 2.0, 3.0, 4.0], offset=-1)),
    "resizing": one(IMAGE, lambda: L.Resizing(5, 7, interpolation="bicubic")),
    "upsampling1d": one(SEQUENCE, lambda: L.UpSampling1D(2)),
    "upsampling2d": one(IMAGE, lambda: L.UpSampling2D(3, interpolation="bilinear")),
    "upsampling3d": one(VOLUME, lambda: L.UpSampling3D(2)),
    "zero_padding1d": one(SEQUENCE, lambda: L.ZeroPadding1D((1, 2))),
    "zero_padding2d": one(IMAGE, lambda: L.ZeroPadding2D(((1, 2), (0, 1)))),
    "zero_padding3d": one(VOLUME, lambda: L.ZeroPadding3D(1)),
    "cropping1d": one(SEQUENCE, lambda: L.Cropping1D(1)),
    "cropping2d": one(IMAGE, lambda: L.Cropping2D(((1, 2), (0, 1)))),
    "cropping3d": one(VOLUME, lambda: L.Cropping3D(1)),
    "max_pooling1d": one(SEQUENCE, lambda: L.MaxPooling1D(2)),
    "max_pooling2d": one(IMAGE, lambda: L.MaxPooling2D(3, 2, padding="same")),
    "max_pooling3d": one(VOLUME, lambda: L.MaxPooling3D(2)),
    "average_pooling1d": one(SEQUENCE, lambda: L.AveragePooling1D(3)),
    "average_pooling2d": one(IMAGE, lambda: L.AveragePooling2D(3, 2, padding="same")),
    "average_pooling3d": one(VOLUME, lambda: L.AveragePooling3D(2)),
    "global_average1d": one(SEQUENCE, lambda: L.GlobalAveragePooling1D(keepdims=True)),
    "global_average2d": one(IMAGE, lambda: L.GlobalAveragePooling2D()),
    "global_average3d": one(VOLUME, lambda: L.GlobalAveragePooling3D()),
    "global_max1d": one(SEQUENCE, lambda: L.GlobalMaxPooling1D()),
    "global_max2d": one(IMAGE, lambda: L.GlobalMaxPooling2D(keepdims=True)),
    "global_max3d": one(VOLUME, lambda: L.GlobalMaxPooling3D()),
    "flatten": one(IMAGE, lambda: L.Flatten()),
    "reshape": one(IMAGE, lambda: L.Reshape((-1, 4))),
    "permute": one(IMAGE, lambda: L.Permute((2, 3, 1))),
    "repeat_vector": one((5,), lambda: L.RepeatVector(3)),
    "relu": one(SEQUENCE, lambda: L.ReLU(1.0, 0.1, 0.5)),
    "leaky_relu": one(SEQUENCE, lambda: L.LeakyReLU(0.2)),
    "prelu": one(IMAGE, lambda: L.PReLU(shared_axes=[1, 2])),
    "elu": one(SEQUENCE, lambda: L.ELU(0.7)),
    "softmax": one(SEQUENCE, lambda: L.Softmax(axis=[1, 2])),
    "hard_silu": one(SEQUENCE, lambda: L.Activation("hard_silu")),
    "dropout": one(SEQUENCE, lambda: L.Dropout(0.5, noise_shape=(None, 1, 6))),
    "spatial_dropout1d": one(SEQUENCE, lambda: L.SpatialDropout1D(0.3)),
    "spatial_dropout2d": one(IMAGE, lambda: L.SpatialDropout2D(0.3)),
    "spatial_dropout3d": one(VOLUME, lambda: L.SpatialDropout3D(0.3)),
    "gaussian_noise": one(SEQUENCE, lambda: L.GaussianNoise(0.3)),
    "gaussian_dropout": one(SEQUENCE, lambda: L.GaussianDropout(0.3)),
    "alpha_dropout": one(SEQUENCE, lambda: L.AlphaDropout(0.3)),
    "activity_regularization": one(SEQUENCE, lambda: L.ActivityRegularization(l2=0.1)),
    "identity": one(SEQUENCE, lambda: L.Identity()),
    "add": several(SEQUENCE, 3, lambda x: L.Add()(x)),
    "subtract": several(SEQUENCE, 2, lambda x: L.Subtract()(x)),
    "multiply": several(SEQUENCE, 2, lambda x: L.Multiply()(x)),
    "average": several(SEQUENCE, 3, lambda x: L.Average()(x)),
    "maximum": several(SEQUENCE, 2, lambda x: L.Maximum()(x)),
    "minimum": several(SEQUENCE, 2, lambda x: L.Minimum()(x)),
    "concatenate": several(SEQUENCE, 2, lambda x: L.Concatenate(axis=1)(x)),
    "dot": several(SEQUENCE, 2, lambda x: L.Dot(axes=2, normalize=True)(x)),
    "attention": several(SEQUENCE, 2, lambda x: L.Attention(use_scale=True)(x, return_attention_scores=True)),
    "additive_attention": several(SEQUENCE, 3, lambda x: L.AdditiveAttention()(x, use_causal_mask=True)),
    "multi_head": several(SEQUENCE, 3, lambda x: L.MultiHeadAttention(2, 3, value_dim=2, output_shape=5)(*x)),
    "multi_head_scores": several(
        SEQUENCE, 2, lambda x: L.MultiHeadAttention(2, 3)(*x, return_attention_scores=True, use_causal_mask=True)
    ),
    "multi_head_axes": several(IMAGE, 2, lambda x: L.MultiHeadAttention(2, 3, attention_axes=(1, 2))(*x)),
    "lstm": one(SEQUENCE, lambda: L.LSTM(3, return_state=True, return_sequences=True)),
    "lstm_state": lambda: (lambda x, h, c: keras.Model([x, h, c], L.LSTM(3)(x, initial_state=[h, c])))(
        keras.Input(SEQUENCE), keras.Input((3,)), keras.Input((3,))
    ),
    "gru": one(SEQUENCE, lambda: L.GRU(3, go_backwards=True)),
    "gru_reset_before": one(SEQUENCE, lambda: L.GRU(3, reset_after=False)),
    "simple_rnn": one(SEQUENCE, lambda: L.SimpleRNN(3, dropout=0.1)),
    "rnn_cells": one(SEQUENCE, lambda: L.RNN([L.GRUCell(3), L.LSTMCell(2), L.SimpleRNNCell(4)])),
    "bidirectional": one(SEQUENCE, lambda: L.Bidirectional(L.LSTM(3, return_sequences=True), merge_mode="sum")),
    "bidirectional_two": one(SEQUENCE, lambda: L.Bidirectional(L.GRU(3), backward_layer=L.LSTM(3, go_backwards=True))),
    "time_distributed": one((4, 8, 8, 3), lambda: L.TimeDistributed(L.Conv2D(2, 3, activation="relu"))),
    "time_distributed_norm": one((4, 8, 3), lambda: L.TimeDistributed(L.BatchNormalization())),
    "conv_lstm1d": one((4, 8, 3), lambda: L.ConvLSTM1D(2, 3)),
    "conv_lstm2d": one((4, 8, 8, 3), lambda: L.ConvLSTM2D(2, 3, return_sequences=True)),
    "conv_lstm3d": one((3, 4, 4, 4, 2), lambda: L.ConvLSTM3D(2, 2)),
}
WRAPPED = {
    "rms_norm": one(SEQUENCE, lambda: L.RMSNormalization()),
    "tanh_gelu": one(SEQUENCE, lambda: TanhGELU()),
    "learned_positions": one(SEQUENCE, lambda: LearnedPositions(12)),
    "rotary": one((5, 2, 4), lambda: RotaryEmbedding()),
    "dot_product": several((5, 2, 4), 3, lambda x: DotProductAttention(causal=True)(x)),
    "spectral_norm": one(IMAGE, lambda: L.SpectralNormalization(L.Conv2D(3, 2))),
    "normalization": one((2,), lambda: L.Normalization(mean=[1.0, 2.0], variance=[2.0, 3.0])),
    "resizing_smooth": one(IMAGE, lambda: L.Resizing(5, 3, antialias=True)),
    "center_crop": one(IMAGE, lambda: L.CenterCrop(5, 3)),
    "adaptive_pooling": one(IMAGE, lambda: L.AdaptiveAveragePooling2D(3)),
    "masking": one(SEQUENCE, lambda: L.Masking()),
    "grouped_query": several(SEQUENCE, 2, lambda x: L.GroupQueryAttention(3, 4, 2)(*x)),
    "gated_attention": several(SEQUENCE, 2, lambda x: L.MultiHeadAttention(2, 3, use_gate=True)(*x)),
    "lstm_hard": one(SEQUENCE, lambda: L.LSTM(3, recurrent_activation="hard_sigmoid", unroll=True)),
    "stateful": one(None, lambda: L.LSTM(3, stateful=True), batch_shape=(2, 5, 3)),
    "time_distributed_model": one((4, 5), lambda: L.TimeDistributed(keras.Sequential([keras.Input((5,)), L.Dense(3)]))),
    "discretization": one((5,), lambda: L.Discretization([-1.0, 0.0, 1.0])),
    "category_encoding": one((5,), lambda: L.CategoryEncoding(4, output_mode="multi_hot"), dtype="int32"),
    "hashing": one((5,), lambda: L.Hashing(4), dtype="int32"),
    "integer_lookup": one((5,), lambda: L.IntegerLookup(vocabulary=[0, 2, 5]), dtype="int64"),
    "random_flip": one(IMAGE, lambda: L.RandomFlip()),
    "random_rotation": one(IMAGE, lambda: L.RandomRotation(0.2)),
    "random_crop": one(IMAGE, lambda: L.RandomCrop(4, 4)),
    "random_brightness": one(IMAGE, lambda: L.RandomBrightness(0.2)),
    "lambda": one(SEQUENCE, lambda: L.Lambda(lambda x: x * 2)),
}
