"""Built-in layers of Keras for small random nets, in tables by the kind of input that they take.

A row gives a branch of a net: it takes a `Draw` and one or more tensors and returns a tensor. Arguments stand as tuples
of values to draw from; a combination that Keras refuses is drawn anew.
"""

from typing import Any

from fuzz_rows import (
    ACTIVATIONS,
    COMMON,
    PADDING,
    YES,
    Draw,
    Row,
    attending,
    decoder,
    joined,
    nested,
    normalization,
    one,
    outer,
    relu_of_norm,
    residual,
    rnn_of_cells,
    shared,
    shared_by_two,
    then,
    wrapped,
)


def masked(draw: Draw, x: Any) -> Any:
    x = draw.layer("Masking", mask_value=(0.0, 0.0, 1.0))(x)
    return draw.pick(tuple(RECURRENT.values()))(draw, x)


# What is the identity where nothing is trained.
INERT = {
    "Dropout": one("Dropout", rate=(0.3,)),
    "AlphaDropout": one("AlphaDropout", rate=(0.3,)),
    "GaussianDropout": one("GaussianDropout", rate=(0.3,)),
    "GaussianNoise": one("GaussianNoise", stddev=(0.3,)),
    "SpatialDropout1D": one("SpatialDropout1D", rate=(0.3,)),
    "SpatialDropout2D": one("SpatialDropout2D", rate=(0.3,)),
    "SpatialDropout3D": one("SpatialDropout3D", rate=(0.3,)),
    "ActivityRegularization": one("ActivityRegularization", l2=(0.1,)),
    "Identity": one("Identity"),
}
# What takes floats of any rank.
ANY = {
    "Activation": one("Activation", activation=ACTIVATIONS),
    "Activation again": one("Activation", activation=ACTIVATIONS),
    "ReLU": one("ReLU", max_value=(None, 1.0, 6.0), negative_slope=(0.0, 0.1), threshold=(0.0, 0.3)),
    "LeakyReLU": one("LeakyReLU", negative_slope=(0.0, 0.3, 2.0)),
    "ELU": one("ELU", alpha=(1.0, 0.3)),
    "PReLU": one("PReLU"),
    "Softmax": one("Softmax", axis=(-1, 1)),
    "Dense": one("Dense", units=(2, 3), activation=COMMON, use_bias=YES),
    "BatchNormalization": one("BatchNormalization", epsilon=(1e-3, 1e-6), center=YES, scale=YES),
    "LayerNormalization": one("LayerNormalization", epsilon=(1e-3, 1e-6), center=YES, scale=YES, axis=(-1, 1)),
    "RMSNormalization": one("RMSNormalization", epsilon=(1e-6, 1e-3)),
    "UnitNormalization": one("UnitNormalization", axis=(-1, 1)),
    "GroupNormalization": one("GroupNormalization", groups=(1, 2, -1), epsilon=(1e-3, 1e-6)),
    "SpectralNormalization": wrapped("SpectralNormalization", "Dense", {"units": (3,)}),
    "Normalization": normalization,
    "Rescaling": one("Rescaling", scale=(0.1, 1 / 127.5, -3.0), offset=(0.0, -1.0)),
    "inert": lambda draw, x: INERT[draw.pick(tuple(INERT))](draw, x),
    "Flatten": one("Flatten"),
    "Discretization": one(
        "Discretization",
        bin_boundaries=([-1.0, 0.0, 0.5], [0.0, 100.0]),
        output_mode=("int", "one_hot", "multi_hot", "count"),
    ),
    "Masking": one("Masking", mask_value=(0.0, 1.0)),
    "shared": shared,
    "residual": residual,
    "nested": nested,
}
CHANGES_KIND = ("Flatten", "Discretization", "Masking")
VECTOR = {
    "RepeatVector": one("RepeatVector", n=(3,)),
    "Reshape": one("Reshape", target_shape=((2, 4), (-1, 2), (4, 1, 2))),
    "EinsumDense": one("EinsumDense", equation=("ab,bc->ac",), output_shape=(3,), bias_axes=(None, "c")),
    "MoE": lambda draw, x: draw.layer("Multiply")(
        [draw.layer("Dense", units=(3,))(x), draw.layer("Dense", units=(3,), activation=("softmax", "sigmoid"))(x)]
    ),
}
CELL = {
    "units": (3,),
    "activation": ("tanh", "tanh", "relu", *ACTIVATIONS),
    "use_bias": YES,
    "return_sequences": YES,
    "go_backwards": YES,
    "unroll": YES,
}
GATED = {**CELL, "recurrent_activation": ("sigmoid", "hard_sigmoid")}
RECURRENT = {
    "SimpleRNN": one("SimpleRNN", **CELL),
    "LSTM": one("LSTM", **GATED, unit_forget_bias=YES),
    "GRU": one("GRU", **GATED, reset_after=YES),
    "Bidirectional": lambda draw, x: wrapped(
        "Bidirectional",
        draw.pick(("LSTM", "GRU", "SimpleRNN")),
        {"units": (3,), "return_sequences": YES},
        merge_mode=("concat", "sum", "mul", "ave"),
    )(draw, x),
    "RNN": rnn_of_cells,
}
KERNEL_1D = {"kernel_size": (1, 2, 3), "activation": COMMON, "use_bias": YES}
SEQUENCE = {
    **RECURRENT,
    "masked": masked,
    "Conv1D": one(
        "Conv1D", filters=(2, 4), strides=(1, 2), padding=(*PADDING, "causal"), groups=(1, 1, 2), **KERNEL_1D
    ),
    "Conv1D dilated": one("Conv1D", filters=(2, 4), padding=(*PADDING, "causal"), dilation_rate=(2,), **KERNEL_1D),
    "Conv1DTranspose": one("Conv1DTranspose", filters=(2, 4), strides=(1, 2, 3), padding=PADDING, **KERNEL_1D),
    "DepthwiseConv1D": one("DepthwiseConv1D", depth_multiplier=(1, 2), strides=(1, 2), padding=PADDING, **KERNEL_1D),
    "SeparableConv1D": one("SeparableConv1D", filters=(3,), strides=(1, 2), padding=(*PADDING, "causal"), **KERNEL_1D),
    "MaxPooling1D": one("MaxPooling1D", pool_size=(2, 3), strides=(None, 1), padding=PADDING),
    "AveragePooling1D": one("AveragePooling1D", pool_size=(2, 3), strides=(None, 1), padding=PADDING),
    "GlobalMaxPooling1D": one("GlobalMaxPooling1D", keepdims=YES),
    "GlobalAveragePooling1D": one("GlobalAveragePooling1D", keepdims=YES),
    "AdaptiveAveragePooling1D": one("AdaptiveAveragePooling1D", output_size=(2, 4)),
    "AdaptiveMaxPooling1D": one("AdaptiveMaxPooling1D", output_size=(2, 4)),
    "Cropping1D": one("Cropping1D", cropping=(1, (0, 2))),
    "ZeroPadding1D": one("ZeroPadding1D", padding=(1, (0, 2))),
    "UpSampling1D": one("UpSampling1D", size=(2, 3)),
    "Permute": one("Permute", dims=((2, 1),)),
    "Reshape": one("Reshape", target_shape=((3, 8), (-1, 2), (2, 3, 4))),
    "TimeDistributed": wrapped("TimeDistributed", "Dense", {"units": (3,), "activation": COMMON}),
    "EinsumDense": one(
        "EinsumDense", equation=("abc,cde->abde",), output_shape=((None, 3, 2),), bias_axes=(None, "de", "e")
    ),
    "MultiHeadAttention": attending("MultiHeadAttention", num_heads=(1, 2), key_dim=(3,), use_bias=YES),
    "GroupQueryAttention": attending(
        "GroupQueryAttention", head_dim=(3,), num_query_heads=(4,), num_key_value_heads=(2, 1)
    ),
    "Attention": attending("Attention", use_scale=YES, score_mode=("dot", "concat")),
    "AdditiveAttention": attending("AdditiveAttention", use_scale=YES),
}
KERNEL_2D = {"kernel_size": (1, 2, 3, (1, 3)), "activation": COMMON, "use_bias": YES}
WINDOW_2D = {"pool_size": (2, 3, (1, 2)), "strides": (None, 1, 2), "padding": PADDING}
RANGE = {"value_range": ((0, 255), (0, 1))}
# What changes images in training alone.
AUGMENTATION = {
    "RandomFlip": one("RandomFlip", mode=("horizontal", "vertical", "horizontal_and_vertical")),
    "RandomRotation": one("RandomRotation", factor=(0.3,)),
    "RandomZoom": one("RandomZoom", height_factor=(0.3,)),
    "RandomTranslation": one("RandomTranslation", height_factor=(0.3,), width_factor=(0.3,)),
    "RandomShear": one("RandomShear", x_factor=(0.3,), y_factor=(0.3,)),
    "RandomContrast": one("RandomContrast", factor=(0.3,)),
    "RandomBrightness": one("RandomBrightness", factor=(0.3,)),
    "RandomGaussianBlur": one("RandomGaussianBlur"),
    "RandomErasing": one("RandomErasing"),
    "RandomPerspective": one("RandomPerspective"),
    "RandomElasticTransform": one("RandomElasticTransform"),
}
COLOURS = {
    "RandomHue": one("RandomHue", factor=(0.3,), **RANGE),
    "RandomSaturation": one("RandomSaturation", factor=(0.3,), **RANGE),
    "RandomSharpness": one("RandomSharpness", factor=(0.3,), **RANGE),
    "RandomGrayscale": one("RandomGrayscale"),
    "RandomInvert": one("RandomInvert", factor=(0.3,), **RANGE),
    "RandomPosterization": one("RandomPosterization", factor=(3,), **RANGE),
    "RandomColorJitter": one("RandomColorJitter", **RANGE),
    "RandomColorDegeneration": one("RandomColorDegeneration", factor=(0.3,), **RANGE),
    "RandAugment": one("RandAugment", **RANGE),
    "AugMix": one("AugMix", **RANGE),
    "MixUp": one("MixUp"),
    "CutMix": one("CutMix"),
}
IMAGE = {
    "Conv2D": one("Conv2D", filters=(2, 4), strides=(1, 2), padding=PADDING, groups=(1, 1, 2), **KERNEL_2D),
    "Conv2D dilated": one("Conv2D", filters=(2, 4), padding=PADDING, dilation_rate=(2, (1, 2)), **KERNEL_2D),
    "Conv2D normed": then(
        one("Conv2D", filters=(4,), kernel_size=(1, 3), use_bias=YES), lambda draw, x: relu_of_norm(draw, x)
    ),
    "Conv2DTranspose": one("Conv2DTranspose", filters=(2, 4), strides=(1, 2, 3), padding=PADDING, **KERNEL_2D),
    "DepthwiseConv2D": one(
        "DepthwiseConv2D", depth_multiplier=(1, 2), strides=(1, 2), padding=PADDING, dilation_rate=(1, 2), **KERNEL_2D
    ),
    "SeparableConv2D": one(
        "SeparableConv2D", filters=(3,), depth_multiplier=(1, 2), strides=(1, 2), padding=PADDING, **KERNEL_2D
    ),
    "SpectralNormalization": wrapped("SpectralNormalization", "Conv2D", {"filters": (3,), "kernel_size": (1, 3)}),
    "MaxPooling2D": one("MaxPooling2D", **WINDOW_2D),
    "AveragePooling2D": one("AveragePooling2D", **WINDOW_2D),
    "GlobalMaxPooling2D": one("GlobalMaxPooling2D", keepdims=YES),
    "GlobalAveragePooling2D": one("GlobalAveragePooling2D", keepdims=YES),
    "AdaptiveAveragePooling2D": one("AdaptiveAveragePooling2D", output_size=(2, (3, 4))),
    "AdaptiveMaxPooling2D": one("AdaptiveMaxPooling2D", output_size=(2, (3, 4))),
    "Cropping2D": one("Cropping2D", cropping=(1, ((0, 2), (1, 3)))),
    "ZeroPadding2D": one("ZeroPadding2D", padding=(1, ((0, 2), (1, 3)))),
    "UpSampling2D": one("UpSampling2D", size=(2, (1, 3)), interpolation=("nearest", "bilinear", "bicubic", "lanczos3")),
    "Permute": one("Permute", dims=((3, 1, 2), (2, 1, 3))),
    "Reshape": one("Reshape", target_shape=((-1, 8), (4, 2, -1))),
    "TimeDistributed": wrapped("TimeDistributed", "Conv1D", {"filters": (3,), "kernel_size": (1, 3)}),
    "ConvLSTM1D": one("ConvLSTM1D", filters=(2,), kernel_size=(1, 3), return_sequences=YES, padding=PADDING),
    "EinsumDense": one("EinsumDense", equation=("abcd,de->abce",), output_shape=((None, None, 3),), bias_axes=("e",)),
    "Resizing": one(
        "Resizing",
        height=(5, 12),
        width=(7, 16),
        interpolation=("bilinear", "nearest", "bicubic", "lanczos3", "lanczos5"),
        antialias=YES,
        crop_to_aspect_ratio=YES,
    ),
    "CenterCrop": one("CenterCrop", height=(5, 4), width=(4, 7)),
    "RandomCrop": one("RandomCrop", height=(5,), width=(4,)),
    "augmentation": lambda draw, x: AUGMENTATION[draw.pick(tuple(AUGMENTATION))](draw, x),
}
PIXELS = {
    "Rescaling": one("Rescaling", scale=(1 / 255, 1 / 127.5), offset=(0.0, -1.0)),
    "Normalization": normalization,
    "Resizing": one("Resizing", height=(5, 12), width=(7,), interpolation=("bilinear", "nearest")),
    "CenterCrop": one("CenterCrop", height=(5,), width=(4,)),
    "BatchNormalization": one("BatchNormalization"),
    "Conv2D": one("Conv2D", filters=(3,), kernel_size=(1, 3)),
    "augmentation": lambda draw, x: COLOURS[draw.pick(tuple(COLOURS))](draw, x),
    "flip": one("RandomFlip"),
    "Solarization": one("Solarization", addition_factor=(0.0, 0.2), **RANGE),
    "AutoContrast": one("AutoContrast", **RANGE),
    "Equalization": one("Equalization", **RANGE),
    "ContrastLimitedAdaptiveHistogramEqualization": one("ContrastLimitedAdaptiveHistogramEqualization", **RANGE),
}
VOLUME = {
    "Conv3D": one(
        "Conv3D",
        filters=(2, 4),
        kernel_size=(1, 2, 3),
        strides=(1, 2),
        padding=PADDING,
        groups=(1, 2),
        activation=COMMON,
    ),
    "Conv3DTranspose": one(
        "Conv3DTranspose", filters=(2,), kernel_size=(1, 2, 3), strides=(1, 2), padding=PADDING, activation=COMMON
    ),
    "MaxPooling3D": one("MaxPooling3D", pool_size=(2, (1, 2, 3)), strides=(None, 1), padding=PADDING),
    "AveragePooling3D": one("AveragePooling3D", pool_size=(2, (1, 2, 3)), strides=(None, 1), padding=PADDING),
    "GlobalMaxPooling3D": one("GlobalMaxPooling3D", keepdims=YES),
    "GlobalAveragePooling3D": one("GlobalAveragePooling3D", keepdims=YES),
    "AdaptiveAveragePooling3D": one("AdaptiveAveragePooling3D", output_size=(2, (2, 3, 1))),
    "AdaptiveMaxPooling3D": one("AdaptiveMaxPooling3D", output_size=(2, (2, 3, 1))),
    "Cropping3D": one("Cropping3D", cropping=(1, ((0, 1), (1, 0), (1, 1)))),
    "ZeroPadding3D": one("ZeroPadding3D", padding=(1, ((0, 1), (1, 0), (1, 1)))),
    "UpSampling3D": one("UpSampling3D", size=(2, (1, 2, 1))),
    "ConvLSTM2D": one("ConvLSTM2D", filters=(2,), kernel_size=(1, 3), return_sequences=YES, padding=PADDING),
    "TimeDistributed": wrapped(
        "TimeDistributed", "Conv2D", {"filters": (3,), "kernel_size": (1, 3), "padding": PADDING}
    ),
    "TimeDistributed pooling": wrapped("TimeDistributed", "GlobalAveragePooling2D", {}),
    "Permute": one("Permute", dims=((4, 1, 2, 3), (2, 1, 3, 4))),
    "Reshape": one("Reshape", target_shape=((5, -1), (25, 5, 2))),
}
FILM = {"ConvLSTM3D": one("ConvLSTM3D", filters=(2,), kernel_size=(1, 2), return_sequences=YES, padding=PADDING)}
TOKENS = {
    "CategoryEncoding": one("CategoryEncoding", num_tokens=(11,), output_mode=("multi_hot", "count", "one_hot")),
    "IntegerLookup": one(
        "IntegerLookup", vocabulary=([3, 5, 1],), mask_token=(None, 0), output_mode=("int", "multi_hot", "count")
    ),
    "Hashing": one("Hashing", num_bins=(6,)),
    "HashedCrossing": lambda draw, x: draw.layer("HashedCrossing", num_bins=(6,))((x, x)),
    "Rescaling": one("Rescaling", scale=(0.1,)),
    "Discretization": one("Discretization", bin_boundaries=([1.0, 4.0],), output_mode=("int", "multi_hot")),
    "ReversibleEmbedding": one("ReversibleEmbedding", input_dim=(11,), output_dim=(4,), mask_zero=YES),
    "Normalization": one("Normalization", mean=(3.0,), variance=(4.0,), axis=(None,)),
}
WAVE = {
    "STFTSpectrogram": then(
        one("Reshape", target_shape=((64, 1),)),
        one(
            "STFTSpectrogram",
            mode=("log", "magnitude", "psd", "real", "imag", "angle"),
            frame_length=(16,),
            frame_step=(8,),
            fft_length=(16, 32),
        ),
    ),
    "MelSpectrogram": one(
        "MelSpectrogram",
        fft_length=(32,),
        sequence_stride=(16,),
        sampling_rate=(800,),
        num_mel_bins=(6,),
        max_freq=(300,),
        mag_exp=(1.0, 2.0),
    ),
}
MERGE = {
    **{kind: joined(kind) for kind in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")},
    "Concatenate": joined("Concatenate", axis=(-1, 1)),
    "shared by two": lambda draw, a, b: shared_by_two(draw, a, b),
}
PAIR_VECTOR = {**MERGE, "Dot": joined("Dot", axes=(1,), normalize=YES), "outer": lambda draw, a, b: outer(draw, a, b)}
PAIR_SEQUENCE = {
    **MERGE,
    "Dot": joined("Dot", axes=((2, 2), (1, 1)), normalize=YES),
    **{kind: SEQUENCE[kind] for kind in SEQUENCE if kind.endswith("Attention")},
    "decoder": lambda draw, a, b: decoder(draw, a, b),
}
PAIR_IMAGE = MERGE


# Which tables a kind of input reads, and its inputs: shape and dtype of each.
KINDS: dict[str, tuple[dict[str, Row], tuple[tuple[tuple[int, ...], str], ...]]] = {
    "image": ({**ANY, **IMAGE}, (((8, 8, 4), "float32"),)),
    "sequence": ({**ANY, **SEQUENCE}, (((6, 4), "float32"),)),
    "vector": ({**ANY, **VECTOR}, (((8,), "float32"),)),
    "tokens": (TOKENS, (((6,), "int32"),)),
    "pixels": (PIXELS, (((8, 8, 3), "uint8"),)),
    "pair_sequence": (PAIR_SEQUENCE, (((6, 4), "float32"),) * 2),
    "volume": ({**ANY, **VOLUME}, (((5, 5, 5, 2), "float32"),)),
    "pair_vector": (PAIR_VECTOR, (((8,), "float32"),) * 2),
    "pair_image": (PAIR_IMAGE, (((8, 8, 4), "float32"),) * 2),
    "wave": (WAVE, (((64,), "float32"),)),
    "film": (FILM, (((3, 4, 4, 4, 2), "float32"),)),
}
# Of how many nets a kind is drawn, in turn.
TURNS = ("image", "sequence", "vector", "image", "tokens", "sequence", "pixels", "pair_sequence", "volume")
TURNS += ("image", "sequence", "vector", "tokens", "pair_vector", "pair_image", "wave", "film")
# What no net of numbers holds, or what is no layer of its own.
LEFT_OUT = {
    "StringLookup": "takes strings",
    "TextVectorization": "takes strings",
    "Lambda": "any code",
    "Layer": "a base class",
    "Wrapper": "a base class",
    "InputSpec": "no layer",
    "Input": "every net has it",
    "InputLayer": "every net has it",
    "Pipeline": "of other layers",
    "MaxNumBoundingBoxes": "takes boxes",
    "TFSMLayer": "a file",
    "FlaxLayer": "another backend",
    "JaxLayer": "another backend",
    "TorchModuleWrapper": "another backend",
    "StackedRNNCells": "made by RNN of a list",
}
