"""Forecasting networks: counts by their papers, what the forecast sees, bases, levels, heads of distributions."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasdl
from kerasdl.core import ArgumentError
from kerasdl.sequence.series.heads import distribution_of
from kerasdl.sequence.series.nbeats import season_coefficients
from kerasdl.sequence.series.tcn import receptive_field

RNG = np.random.default_rng(0)


def dense(inputs, units, bias=True):
    return inputs * units + units * bias


def block(length, horizon, units, size, basis_bias, last=False):
    """Weights of a block of N-BEATS: hidden layers, coefficients and bases of both sides."""
    sides = [horizon] if last else [length, horizon]
    hidden = dense(length, units) + 3 * dense(units, units)
    return hidden + sum(dense(units, size, False) + dense(size, side, basis_bias) for side in sides)


def nbeats_interpretable(length=72, horizon=18):
    season = season_coefficients(horizon)
    trends = 3 * block(length, horizon, 256, 3, False)
    seasons = 2 * block(length, horizon, 2048, season, False) + block(length, horizon, 2048, season, False, last=True)
    return trends + seasons


ENCODER = 2 * 2 * 128 + 4 * dense(128, 128) + dense(128, 256) + dense(256, 128)
COUNTS = {
    "lstm_forecaster": 4 * (dense(1 + 64, 64) + dense(64 + 64, 64)) + dense(64, 12),
    "gru_forecaster": 3 * (dense(1 + 64, 64) + dense(64 + 64, 64) + 2 * 64) + dense(64, 12),
    "tcn_forecaster": dense(3 * 1, 32) + 7 * dense(3 * 32, 32) + dense(1, 32) + dense(32, 12),
    "dlinear": 2 * dense(336, 96),
    "nlinear": dense(336, 96),
    "nbeats_generic": 29 * block(72, 18, 512, 32, True) + block(72, 18, 512, 32, True, last=True),
    "nbeats_interpretable": nbeats_interpretable(),
    "patchtst": dense(16, 128) + 42 * 128 + 3 * ENCODER + 2 * 128 + dense(42 * 128, 96),
}


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_count_is_the_sum_of_the_paper(name):
    assert kerasdl.spec(name).params == COUNTS[name]


def test_the_forecast_of_a_tcn_sees_its_receptive_field_and_no_more():
    kernel, depth, length = 3, 2, 20
    assert receptive_field(kernel, depth) == 1 + 2 * 2 * (1 + 2) == 13
    model = kerasdl.build(
        "tcn_forecaster", length=length, horizon=2, filters=4, kernel=kernel, depth=depth, anchor=None
    )
    window = tf.Variable(RNG.normal(size=(8, length, 1)).astype("float32"))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(model(window, training=False))
    reached = np.abs(tape.gradient(total, window).numpy()).max(axis=0)[:, 0]
    assert (reached[:7] == 0).all()
    assert (reached[7:] > 0).all()
    features = keras.Model(model.input, model.get_layer("block2_relu").output)
    before, changed = window.numpy(), window.numpy()
    changed[:, 12:] += 1
    gap = np.abs(features(before, training=False) - features(changed, training=False)).max(axis=(0, 2))
    assert (gap[:12] == 0).all()
    assert gap[12] > 0


@pytest.mark.parametrize(
    ("name", "anchor"),
    [
        *[("lstm_forecaster", "last"), ("tcn_forecaster", "mean"), ("nbeats_generic", "last"), ("nlinear", "last")],
        ("patchtst", "mean"),
    ],
)
def test_a_level_moves_the_forecast_and_nothing_else(name, anchor):
    tiny = {**kerasdl.spec(name).tiny, "anchor": anchor}
    model = kerasdl.build(name, **tiny)
    windows = RNG.normal(size=(3, *model.input_shape[1:])).astype("float32")
    targets = model.output_shape[-1]
    shifts = np.zeros((3, 1, windows.shape[-1]), "float32")
    shifts[..., :targets] = RNG.normal(size=(3, 1, targets)) * 4
    moved = model(windows + shifts, training=False)
    np.testing.assert_allclose(moved, model(windows, training=False) + shifts[..., :targets], atol=1e-4)


def test_a_window_of_any_length_needs_a_mean():
    with pytest.raises(ArgumentError, match='anchor="mean"'):
        kerasdl.build("lstm_forecaster", length=None)


@pytest.mark.parametrize("kind", ["trend", "season"])
def test_what_a_basis_holds_is_explained_by_its_stack(kind):
    """With weights that give any coefficients, a block forecasts the polynomial or season of those coefficients."""
    horizon, length = 8, 24
    model = kerasdl.build("nbeats_interpretable", length=length, horizon=horizon, stacks=((kind, kind, 1, 16),))
    layer = model.get_layer(f"{kind}_block1_forecast")
    assert not layer.trainable_weights
    theta = RNG.normal(size=(1, layer.kernel.shape[0])).astype("float32")
    forecast = (theta @ layer.kernel.numpy())[0]
    t = np.arange(horizon)
    if kind == "trend":
        np.testing.assert_allclose(np.polyfit(t / horizon, forecast, 2)[::-1], theta[0], atol=1e-4)
    else:
        waves = np.fft.rfft(forecast) / horizon
        harmonics = theta.shape[1] // 2
        np.testing.assert_allclose(waves[0].real, theta[0, 0], atol=1e-5)
        np.testing.assert_allclose(2 * waves[1 : harmonics + 1].real, theta[0, 1 : harmonics + 1], atol=1e-5)
        np.testing.assert_allclose(-2 * waves[1 : harmonics + 1].imag, theta[0, harmonics + 1 :], atol=1e-5)


def test_stacks_of_nbeats_add_up_and_blocks_see_the_rest():
    tiny = kerasdl.spec("nbeats_interpretable").tiny
    model = kerasdl.build("nbeats_interpretable", **tiny)
    names = [f"{stack}_block1_{side}" for stack in ("trend", "season") for side in ("forecast", "backcast")]
    parts = keras.Model(model.input, [model.get_layer(name).output for name in [*names, "rest_block1_forecast"]])
    rests = keras.Model(model.input, model.get_layer("season_block1_rest").output)
    window = RNG.normal(size=(2, 12, 1)).astype("float32")
    trend, trend_back, season, season_back, rest = parts(window)
    np.testing.assert_allclose(model(window)[..., 0], trend + season + rest, atol=1e-5)
    np.testing.assert_allclose(rests(window), window[..., 0] - trend_back - season_back, atol=1e-5)


def test_dlinear_is_two_linear_layers_over_a_moving_average_and_the_rest():
    model = kerasdl.build("dlinear", length=9, horizon=2, channels=3, targets=2, kernel=3)
    window = RNG.normal(size=(4, 9, 3)).astype("float32")
    means = np.stack([window[:, max(0, k - 1) : k + 2, :2].mean(axis=1) for k in range(9)], axis=1)
    expected = 0
    for name, part in (("trend", means), ("season", window[..., :2] - means)):
        kernel, bias = model.get_layer(name).get_weights()
        expected = expected + np.einsum("btc,th->bhc", part, kernel) + bias[:, None]
    np.testing.assert_allclose(model(window), expected, atol=1e-5)


def test_patches_of_patchtst_are_those_of_the_padded_window():
    model = kerasdl.build("patchtst", length=20, horizon=2, patch=6, stride=3, width=8, heads=2, depth=1, anchor=None)
    layer = model.get_layer("patch_projection")
    window = RNG.normal(size=(1, 20, 1)).astype("float32")
    tokens = keras.Model(model.input, layer.output)(window)
    padded = np.concatenate([window[0, :, 0], np.full(3, window[0, -1, 0])])
    kernel, bias = layer.get_weights()
    patches = np.stack([padded[start : start + 6] for start in range(0, 18, 3)])
    np.testing.assert_allclose(tokens[0], patches @ kernel[:, 0] + bias, atol=1e-5)


@pytest.mark.parametrize("distribution", ["point", "gaussian", (0.1, 0.5, 0.9), (0.025, 0.975)])
def test_a_saved_network_says_what_it_gives(distribution, tmp_path):
    settings = {**kerasdl.spec("tcn_forecaster").tiny, "targets": 2, "future": 3, "distribution": distribution}
    model = kerasdl.build("tcn_forecaster", **settings)
    model.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras")
    assert distribution_of(loaded) == distribution
    sizes = {"point": (), "gaussian": (2,)}.get(distribution, (len(distribution),))
    assert loaded.output_shape == (None, 3, 2, *sizes)
    assert [*loaded.input] == ["window", "future"]


def test_covariates_of_a_step_reach_that_step_alone():
    model = kerasdl.build("gru_forecaster", length=6, horizon=4, future=2, units=8)
    inputs = {"window": RNG.normal(size=(2, 6, 1)), "future": RNG.normal(size=(2, 4, 2))}
    inputs = {name: each.astype("float32") for name, each in inputs.items()}
    before = model(inputs).numpy()
    inputs["future"][:, 2] += 1
    gap = np.abs(model(inputs) - before).max(axis=(0, 2))
    assert (gap[[0, 1, 3]] == 0).all()
    assert gap[2] > 1e-4


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("lstm_forecaster", {"cell": "rnn"}, "cell must be one of"),
        ("lstm_forecaster", {"targets": 3}, "targets must be among the 2"),
        ("tcn_forecaster", {"kernel": 1}, "kernel"),
        ("tcn_forecaster", {"distribution": "normal"}, "distribution must be"),
        ("tcn_forecaster", {"distribution": (0.9, 0.1)}, "rising levels"),
        ("nbeats_generic", {"stacks": (("a", "wave", 1, 8),)}, "kind of a stack"),
        ("patchtst", {"patch": 40}, "at most the 16 steps"),
        ("patchtst", {"heads": 3}, "multiple of the 3 heads"),
        ("dlinear", {"anchor": "first"}, "anchor must be one of"),
    ],
)
def test_wrong_arguments_are_refused(name, change, words):
    with pytest.raises(ArgumentError, match=words):
        kerasdl.build(name, **{**kerasdl.spec(name).tiny, **change})


def test_other_outputs_are_refused():
    window = keras.Input((4, 1))
    flat = keras.layers.Flatten()(window)
    with pytest.raises(ArgumentError, match=r"\(B, horizon, targets\)"):
        distribution_of(keras.Model(window, flat))
    with pytest.raises(ArgumentError, match="one output"):
        distribution_of(keras.Model(window, [flat, flat]))
