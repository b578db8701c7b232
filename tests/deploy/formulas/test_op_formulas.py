"""Formulas for TensorFlow's operations, each against the operation itself and at its edges: ties, ends, black."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdl.deploy.formulas.op_formulas import FORMULAS, SIGN_TEST

TINY = np.array([0, 1e-30, 1e-10, 1e-7, 1e-4, 0.01, 0.3, 0.5, 0.9], "float32")
SIGNED = np.concatenate([-TINY[::-1], TINY])
GRIDS = {
    "Expm1": (tf.math.expm1, np.concatenate([SIGNED, [1, 5, 80, -5, -80, 200, -np.inf, np.inf]])),
    "Log1p": (tf.math.log1p, np.concatenate([SIGNED, [1, 5, 1e7, 1e30, -0.9999, -1, np.inf]])),
    "Erfinv": (tf.math.erfinv, np.concatenate([SIGNED, [0.999, -0.999, 0.99999, 1, -1]])),
    "Erfc": (tf.math.erfc, np.concatenate([SIGNED, [3, -3, 10]])),
    "Lgamma": (tf.math.lgamma, np.array([1e-4, 0.1, 0.5, 1, 2, 3.5, 10, 100, 1e4, -0.3, -1.5, -7.25])),
    "Digamma": (tf.math.digamma, np.array([1e-2, 0.1, 0.5, 1, 2, 3.5, 10, 1e4, -0.3, -1.5])),
}
# What subtraction loses; TensorFlow's own Erfinv is 0 below 1e-8.
ROOM = {"Erfc": 1e-7, "Erfinv": 3e-8, "Lgamma": 3e-6}

RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(2, 5, 4, 2)).astype("float32")
# Grey, black, white, each primary, ties of the two largest, and hues on both sides of red.
COLOURS = [[0.4] * 3, [0] * 3, [1] * 3, [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1], [1, 0, 0.1]]
COLOURS = np.array([*COLOURS, [1, 0.1, 0], *RNG.uniform(size=(9, 3))], "float32")
ORDERED = {"sorted_inputs": [[-1.0, 0, 0, 2]], "values": [[-2.0, -1, -0.5, 0, 1, 2, 3]], "out_type": tf.int32}
SCORES = [[3.0, 2, 2, 1]] * 4 + [[np.nan, 3, 2, 1], [np.inf, 3, 2, 1], [3, -np.inf, 2, 1]]
PAIR = {"x": np.array([1 + 2j, -3j, 0.5], "complex64"), "y": np.array([2 - 1j, 1 + 1j, -4], "complex64")}
SPECTRUM = {"input": (RNG.normal(size=(3, 4, 5)) + 1j * RNG.normal(size=(3, 4, 5))).astype("complex64")}
KERNELS = ("triangle", "keyscubic", "lanczos1", "lanczos3", "lanczos5", "box")


def resized(kernel, antialias, size, translation=(0.0, 0.0)):
    scale = [size[0] / 5, size[1] / 4]
    settings = {"scale": scale, "translation": list(translation), "kernel_type": kernel, "antialias": antialias}
    return "ScaleAndTranslate", {"images": IMAGE, "size": list(size), **settings}


# name: the operation and its arguments, in the order of its definition.
CASES = {
    "Bucketize": ("Bucketize", {"input": [-2.0, -1, -0.5, 0, 0.5, 0.75], "boundaries": [-1.0, 0, 0.5]}),
    "Bucketize of integers": ("Bucketize", {"input": [-2, -1, 0, 1, 7], "boundaries": [-1.0, 0.5, 7]}),
    "LowerBound": ("LowerBound", ORDERED),
    "UpperBound": ("UpperBound", ORDERED),
    "BroadcastArgs": ("BroadcastArgs", {"s0": [4, 1, 3], "s1": [2, 1]}),
    "BroadcastArgs, the longer last": ("BroadcastArgs", {"s0": [1], "s1": [5, 1, 3]}),
    "BroadcastArgs with none": ("BroadcastArgs", {"s0": [1, 3], "s1": [0, 1]}),
    "RGBToHSV": ("RGBToHSV", {"images": COLOURS}),
    "Cross": ("Cross", {"a": RNG.normal(size=(2, 4, 3)), "b": RNG.normal(size=(2, 4, 3))}),
    "InTopKV2": ("InTopKV2", {"predictions": np.array(SCORES, "float32"), "targets": [0, 1, 2, 3, 1, 1, 1], "k": 2}),
    "ResizeArea smaller": ("ResizeArea", {"images": IMAGE, "size": [2, 3]}),
    "ResizeArea larger": ("ResizeArea", {"images": IMAGE, "size": [7, 9]}),
    "centred ResizeBicubic": ("ResizeBicubic", {"images": IMAGE, "size": [8, 3], "half_pixel_centers": True}),
    **{f"ScaleAndTranslate {each} smaller": resized(each, True, (2, 3)) for each in KERNELS},
    **{f"ScaleAndTranslate {each} larger": resized(each, False, (9, 7)) for each in KERNELS},
    "ScaleAndTranslate antialiased where it grows": resized("keyscubic", True, (2, 9)),
    "ScaleAndTranslate moved": resized("triangle", True, (5, 4), (1.5, -0.75)),
    "complex Complex": ("Complex", {"real": [1.0, -2, 0], "imag": [3.0, 0, -1]}),
    **{f"complex {each}": (each, {"input": PAIR["x"]}) for each in ("Real", "Imag", "Conj")},
    "complex ComplexAbs": ("ComplexAbs", {"x": PAIR["x"]}),
    "complex Mul": ("Mul", PAIR),
    **{f"complex {each}": (each, SPECTRUM) for each in ("FFT", "IFFT", "FFT2D", "IFFT2D")},
}
BELOW = {*GRIDS, "Xlogy", "Xlog1py", "Xdivy", "complex RFFT", "complex IRFFT", SIGN_TEST, "XlaDynamicUpdateSlice"}


def name_of(case):
    return max((name for name in FORMULAS if case.startswith(name)), key=len)


def test_no_formula_escapes():
    assert {name_of(case) for case in CASES} | BELOW == set(FORMULAS)


def as_pairs(tensor):
    return tf.stack([tf.math.real(tensor), tf.math.imag(tensor)], axis=-1) if tensor.dtype.is_complex else tensor


@pytest.mark.parametrize("case", CASES)
def test_a_formula_is_its_operation(case):
    operation, arguments = CASES[case]
    function = getattr(tf.raw_ops, operation)
    with tf.Graph().as_default():
        node = function(**arguments).op.node_def
        dtypes = [each.dtype for each in tf.compat.v1.get_default_graph().get_operation_by_name(node.name).inputs]
    names = list(arguments)[: len(dtypes)]
    tensors = {name: tf.constant(arguments[name], dtype) for name, dtype in zip(names, dtypes, strict=True)}
    expected = as_pairs(function(**arguments | tensors))
    given = FORMULAS[name_of(case)](node, *map(as_pairs, tensors.values()))
    assert given.dtype == expected.dtype
    assert given.shape == expected.shape
    np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("start", [(0, 0), (1, 2), (3, 4), (-2, 9)], ids=str)
def test_a_slice_is_updated_inside_the_tensor_wherever_it_starts(start):
    """As XLA does: a start is moved so that the whole update lies inside."""
    x, update = np.arange(20, dtype="float32").reshape(4, 5), -np.ones((2, 3), "float32")
    expected = x.copy()
    row, column = np.clip(start, 0, (2, 2))
    expected[row : row + 2, column : column + 3] = update
    given = FORMULAS["XlaDynamicUpdateSlice"](None, tf.constant(x), tf.constant(update), tf.constant(start))
    np.testing.assert_array_equal(given, expected)


def test_the_sign_of_zero_is_seen():
    x = tf.constant([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf])
    np.testing.assert_array_equal(FORMULAS[SIGN_TEST](None, x, x), np.signbit(x.numpy()))


@pytest.mark.parametrize("name", GRIDS)
def test_a_formula_equals_the_operation(name):
    operation, grid = GRIDS[name]
    x = tf.constant(grid, tf.float32)
    expected = operation(x).numpy()
    given = FORMULAS[name](None, x).numpy()
    assert np.isfinite(expected).sum() > 8
    np.testing.assert_allclose(given, expected, rtol=2e-5, atol=ROOM.get(name, 0))


@pytest.mark.parametrize("name", ["Xlogy", "Xlog1py", "Xdivy"])
def test_zero_times_infinity_is_zero(name):
    x, y = tf.constant([0.0, 0.0, 2.0, -1.5]), tf.constant([0.0, -1.0, 3.0, 0.25])
    np.testing.assert_allclose(FORMULAS[name](None, x, y), getattr(tf.raw_ops, name)(x=x, y=y), rtol=1e-6)


@pytest.mark.parametrize("length", [6, 7])
@pytest.mark.parametrize("size", [4, 6, 7, 9])
def test_fourier_transforms_cut_and_pad_as_tensorflow_does(size, length):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, size)).astype("float32")
    lengths = tf.constant([length])
    if size >= length:
        expected = np.fft.rfft(x[:, :length], length)
        pairs = FORMULAS["complex RFFT"](None, tf.constant(x), lengths).numpy()
        np.testing.assert_allclose(pairs[..., 0] + 1j * pairs[..., 1], expected, atol=1e-5)
    spectrum = rng.normal(size=(3, size, 2)).astype("float32")
    spectrum[:, 0, 1] = 0
    expected = np.fft.irfft(spectrum[..., 0] + 1j * spectrum[..., 1], length)
    np.testing.assert_allclose(FORMULAS["complex IRFFT"](None, tf.constant(spectrum), lengths), expected, atol=1e-5)
