"""Windows: cut and joined again, masks and offsets by brute force, attention by NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from filling import fill_weights

from kerasdl.core import ArgumentError
from kerasdl.layers import CosineWindowAttention, WindowAttention, WindowMerge, WindowPartition
from kerasdl.layers.windows import relative_positions, shifted_mask

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("sides", "window", "shift"), [((8, 8), 4, 0), ((8, 12), 4, 2), ((9, 13), 4, 2), ((5, 5), 7, 3)]
)
def test_cut_and_joined_again_is_the_image(sides, window, shift):
    x = RNG.normal(size=(2, *sides, 3)).astype("float32")
    cut = WindowPartition(window, shift)(x)
    assert cut.shape[2] == window**2
    np.testing.assert_array_equal(WindowMerge(sides, window, shift)(cut), x)


def test_windows_hold_what_they_cover():
    x = RNG.normal(size=(1, 8, 8, 2)).astype("float32")
    cut = np.asarray(WindowPartition(4, 1)(x))
    rolled = np.roll(x, (-1, -1), (1, 2))
    np.testing.assert_array_equal(cut[0, 2].reshape(4, 4, 2), rolled[0, 4:, :4])


@pytest.mark.parametrize("window", [2, 7])
def test_offsets_are_those_of_the_paper(window):
    found = relative_positions(window)
    for one in range(window**2):
        for other in range(window**2):
            rows, columns = one // window - other // window, one % window - other % window
            assert found[one, other] == (rows + window - 1) * (2 * window - 1) + columns + window - 1


@pytest.mark.parametrize(("sides", "window", "shift"), [((8, 8), 4, 2), ((12, 8), 4, 1), ((7, 9), 4, 2)])
def test_places_see_each_other_where_they_are_neighbours_in_the_image(sides, window, shift):
    """By brute force: after the roll, two places of a window may see each other unless the border lies between them."""
    height, width = (-(-side // window) * window for side in sides)
    mask = shifted_mask(sides, window, shift)
    for number in range(len(mask)):
        top, left = number // (width // window) * window, number % (width // window) * window
        places = [((top + t // window + shift) % height, (left + t % window + shift) % width) for t in range(window**2)]
        for one, (row, column) in enumerate(places):
            for other, (row2, column2) in enumerate(places):
                near = abs(row - row2) < window and abs(column - column2) < window
                assert mask[number, one, other] == near


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def by_hand(layer, x, scores_of):
    """Attention of one window: x (T, D)."""

    def dense(part):
        y = x @ getattr(layer, f"{part}_kernel").numpy()
        return y + getattr(layer, f"{part}_bias").numpy() if part in layer.BIASED else y

    split = [dense(part).reshape(len(x), layer.heads, -1).transpose(1, 0, 2) for part in ("query", "key", "value")]
    mixed = softmax(scores_of(*split[:2])) @ split[2]
    mixed = mixed.transpose(1, 0, 2).reshape(x.shape)
    return mixed @ layer.output_kernel.numpy() + layer.output_bias.numpy()


def built(layer, tokens, width, windows=1):
    entry = keras.Input((windows, tokens, width))
    return fill_weights(keras.Model(entry, layer(entry)))


def test_attention_is_its_formula():
    layer = WindowAttention(2, 3, (3, 3))
    model = built(layer, 9, 8)
    x = RNG.normal(size=(9, 8)).astype("float32")
    bias = layer.bias_table.numpy()[relative_positions(3)].transpose(2, 0, 1)
    expected = by_hand(layer, x, lambda q, k: q @ k.transpose(0, 2, 1) / 2.0 + bias)
    np.testing.assert_allclose(model(x[None, None])[0, 0], expected, atol=1e-5)


def test_cosine_attention_is_its_formula():
    layer = CosineWindowAttention(2, 3, (3, 3))
    model = built(layer, 9, 8)
    layer.logit_scale.assign(np.float32([[[1.3]], [[9.0]]]))  # the second is cut at log 100
    x = RNG.normal(size=(9, 8)).astype("float32")
    offsets = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 2, indexing="ij"), -1).reshape(-1, 2) / 2 * 8
    offsets = np.sign(offsets) * np.log2(np.abs(offsets) + 1) / np.log2(8)
    hidden = np.maximum(offsets @ layer.bias_hidden.numpy() + layer.bias_hidden_bias.numpy(), 0)
    bias = 16 / (1 + np.exp(-(hidden @ layer.bias_out.numpy())))
    bias = bias[relative_positions(3)].transpose(2, 0, 1)
    scale = np.exp(np.minimum([[[1.3]], [[9.0]]], np.log(100)))

    def scores(q, k):
        q, k = (each / np.linalg.norm(each, axis=-1, keepdims=True) for each in (q, k))
        return q @ k.transpose(0, 2, 1) * scale + bias

    np.testing.assert_allclose(model(x[None, None])[0, 0], by_hand(layer, x, scores), atol=2e-4)


@pytest.mark.parametrize("kind", [WindowAttention, CosineWindowAttention])
def test_what_lies_beyond_the_border_is_not_seen(kind, tmp_path):
    """In the last shifted window a change of one place reaches those that the mask lets see it, and no other."""
    layer = kind(2, 4, (8, 8), 2)
    model = built(layer, 16, 8, windows=4)
    x = RNG.normal(size=(1, 4, 16, 8)).astype("float32")
    changed = x.copy()
    changed[0, 3, 0] += 1.0
    reached = np.abs(model(changed).numpy() - model(x).numpy())[0].max(-1) > 1e-6
    np.testing.assert_array_equal(reached[3], shifted_mask((8, 8), 4, 2)[3, 0])
    assert not reached[:3].any()
    model.save(tmp_path / "layer.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "layer.keras")(x), model(x))


def test_widths_and_sides_are_checked():
    with pytest.raises(ArgumentError, match="multiple of the 3 heads"):
        WindowAttention(3, 4, (8, 8))(keras.Input((4, 16, 8)))
    with pytest.raises(ArgumentError, match="pairs of places"):
        WindowAttention(2, 5000, (10**6, 10**6), 1)
    with pytest.raises(ArgumentError, match="known sides"):
        WindowPartition(4)(keras.Input((None, 8, 3)))


def test_keys_of_padding_leave_gradients_finite_under_xla():
    """Padding has keys of exactly zero, whose direction has no gradient; XLA shows what the plain graph hides."""
    entry = keras.Input((9, 9, 8))
    cut = WindowPartition(4)(entry)
    layer = CosineWindowAttention(2, 4, (9, 9))
    model = fill_weights(keras.Model(entry, WindowMerge((9, 9), 4)(layer(cut))))

    @tf.function(jit_compile=True)
    def gradients(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(model(x)))
        return tape.gradient(loss, model.trainable_weights)

    found = gradients(RNG.normal(size=(2, 9, 9, 8)).astype("float32"))
    assert all(np.isfinite(each).all() for each in found)
    assert np.abs(found[0]).max() > 0


def test_cosines_keep_their_precision_in_16_bits():
    """Scores near a hundred: with projections that change nothing, only the result is rounded."""
    layers = [CosineWindowAttention(2, 4, (4, 4), dtype=dtype) for dtype in ("float32", "mixed_bfloat16")]
    exact, rough = (built(layer, 16, 8) for layer in layers)
    rough.set_weights(exact.get_weights())
    for layer in layers:
        layer.logit_scale.assign(np.full((2, 1, 1), np.log(90.0)))
        for part in ("query", "key", "value", "output"):
            getattr(layer, f"{part}_kernel").assign(np.eye(8))
        for part in layer.BIASED:
            getattr(layer, f"{part}_bias").assign(np.zeros(8))
    x = tf.cast(RNG.normal(size=(8, 1, 16, 8)), "bfloat16")
    np.testing.assert_allclose(tf.cast(rough(x), "float32"), exact(tf.cast(x, "float32")), atol=0.02, rtol=0.01)


@pytest.mark.parametrize("kind", [WindowAttention, CosineWindowAttention])
def test_windows_of_another_image_are_refused(kind):
    with pytest.raises(ArgumentError, match="8 x 8 must come as 4 windows of 16 places"):
        kind(2, 4, (8, 8))(keras.Input((3, 16, 8)))
    with pytest.raises(ArgumentError, match="8 x 8 must come as 4 windows of 16 places"):
        WindowMerge((8, 8), 4)(keras.Input((4, 9, 8)))
    for refused in (lambda: kind(2, 4, (8, 8), 4), lambda: WindowPartition(4, 4), lambda: WindowMerge((8, 8), 4, 4)):
        with pytest.raises(ArgumentError, match="shift must be a number from 0 to 3"):
            refused()
