"""Trainer of diffusion: its loss by hand, exact sampling of normal data, guidance, editing, resume, refusals."""

import warnings
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import kerasdl
from kerasdl.core.errors import ArgumentError, UnknownNameError
from kerasdl.data import DataWarning
from kerasdl.generative import (
    ClassConditioning,
    Diffusion,
    DiscreteSchedule,
    FlowMatching,
    FlowSchedule,
    Guidance,
    LatentDiffusion,
    ScoreSDE,
    VESchedule,
    VPSchedule,
    flow_log_likelihood,
    image_bits,
)
from kerasdl.generative.samplers import Ancestral, Heun
from kerasdl.ops import prediction_of
from kerasdl.train import RunConfig, fit

PAIRS = [
    *[("linear", target) for target in ("eps", "x0", "v", "score", "edm")],
    *[("vp", "eps"), ("sub_vp", "x0"), ("ve", "eps"), ("ve", "edm"), ("flow", "flow"), ("flow", "x0")],
    (DiscreteSchedule(shape="scaled_linear", zero_terminal=True), "v"),
]
QUICK = [("linear", "eps"), ("ve", "edm"), ("flow", "flow")]


def with_slow(pairs, quick):
    """Marks the pairs that are not quick for the slow lane."""
    return [pytest.param(*pair, marks=[] if pair in quick else [pytest.mark.slow]) for pair in pairs]


def small(**arguments):
    return kerasdl.build("diffusion_mlp", **{"width": 8, "depth": 1, "waves": 4, **arguments})


def points(count=64, seed=0):
    return np.random.default_rng(seed).normal(0.3, 0.5, (count, 2)).astype("float32")


class Affine(keras.layers.Layer):
    """Prediction of normal data N(mean, deviation^2) that is best for a schedule and target, as a layer."""

    def __init__(self, owner, mean, deviation, **kwargs):
        super().__init__(**kwargs)
        self.owner, self.mean, self.deviation = owner, mean, deviation

    def call(self, inputs):
        x, time = inputs
        denoiser = self.owner.denoiser
        time = time[0] / 1000
        if isinstance(denoiser.schedule, DiscreteSchedule):
            time = tf.round(time * denoiser.schedule.steps)
        if isinstance(denoiser.schedule, VESchedule):
            time = tf.exp(time * np.log(80 / 0.002) + np.log(0.002))
        alpha, sigma = denoiser.schedule.rates(time)
        x = x / denoiser.input_scale(x, alpha, sigma)
        gain = alpha * self.deviation**2 / (alpha**2 * self.deviation**2 + sigma**2)
        data = self.mean + gain * (x - alpha * self.mean)
        return denoiser.target_of(data, (x - alpha * data) / sigma, alpha, sigma)

    def compute_output_shape(self, shapes):
        return shapes[0]


def best_trainer(schedule, target, mean=0.4, deviation=0.5):
    """A trainer whose network knows the best prediction of normal data."""
    owner = SimpleNamespace()  # Keras would copy a list
    x, time = keras.Input((2,), name="x"), keras.Input((), name="time")
    network = keras.Model({"x": x, "time": time}, Affine(owner, mean, deviation)([x, time]))
    trainer = Diffusion(network, schedule, target)
    owner.denoiser = trainer.denoiser
    return trainer


@pytest.mark.parametrize(("schedule", "target"), with_slow(PAIRS, QUICK), ids=str)
def test_a_perfect_network_samples_its_data(schedule, target):
    trainer = best_trainer(schedule, target)
    found = trainer.sample(4000, steps=60, seed=1)
    np.testing.assert_allclose(found.mean(0), 0.4, atol=0.03)
    np.testing.assert_allclose(found.std(0), 0.5, rtol=0.08)


@pytest.mark.parametrize(("schedule", "target"), PAIRS, ids=str)
def test_the_loss_is_the_squared_error_of_the_target(schedule, target):
    trainer = Diffusion(small(), schedule, target)
    x = points()
    drawn = trainer(x, training=False)
    loss = trainer.compute_loss(x, None, drawn, training=False)
    if target == "edm":
        expected = trainer.denoiser.target_of(x, drawn["noise"], drawn["alpha"], drawn["sigma"])
        assert 0.5 < np.std(expected) < 1.6
    else:
        measured = "eps" if target == "score" else target
        expected = prediction_of(x, drawn["noise"], drawn["alpha"], drawn["sigma"], measured)
    assert float(loss) == pytest.approx(np.mean(np.square(expected)), rel=1e-5)  # the network says 0 at first
    again = trainer.compute_loss(x, None, trainer(x, training=False), training=False)
    assert float(again) == float(loss)  # noise of validation stays
    first, second = (trainer(x, training=True)["noise"] for _ in range(2))
    assert np.abs(first - second).max() > 0.1


def test_weights_of_examples_and_of_noise_levels_count():
    trainer, x = Diffusion(small(), "cosine", "v", weighting="min_snr", gamma=3.0), points()
    drawn = trainer(x, training=False)
    error = np.square(prediction_of(x, drawn["noise"], drawn["alpha"], drawn["sigma"], "v")).mean(-1)
    ratio = np.square(drawn["alpha"] / drawn["sigma"])
    own = np.linspace(0, 1, 64).astype("float32")
    loss = trainer.compute_loss(x, None, drawn, own[:, None], training=False)
    assert float(loss) == pytest.approx(np.mean(own * np.minimum(ratio, 3) / (1 + ratio) * error), rel=1e-4)


def test_rates_are_found_again_by_their_ratio():
    ratio = np.geomspace(0.01, 50, 7)
    for schedule in (
        VPSchedule(),
        VPSchedule(kind="sub_vp"),
        VESchedule(),
        FlowSchedule(),
        VPSchedule(low=2.0, high=2.0),
    ):
        alpha, sigma = schedule.rates(schedule.time_of_ratio(ratio))
        np.testing.assert_allclose(np.asarray(sigma) / np.asarray(alpha), ratio, rtol=1e-9)
    with pytest.raises(ArgumentError, match="continuous"):
        DiscreteSchedule().time_of_ratio(ratio)


@pytest.mark.slow
def test_churn_keeps_the_data_and_needs_a_continuous_schedule():
    trainer = best_trainer("ve", "edm")
    calm = trainer.sample(4000, steps=60, sampler="heun", seed=2)
    churned = trainer.sample(4000, steps=60, sampler=Heun(churn=20.0), seed=2)
    np.testing.assert_allclose(churned.std(0), 0.5, rtol=0.08)
    assert np.abs(churned - calm).max() > 0.1
    with pytest.raises(ArgumentError, match="continuous"):
        best_trainer("linear", "eps").sample(2, steps=4, sampler=Heun(churn=5.0))
    with pytest.raises(ArgumentError, match="signal"):
        best_trainer("flow", "flow").sample(2, steps=4, sampler=Heun(churn=5.0))


@pytest.mark.parametrize(("schedule", "target"), with_slow([("flow", "flow"), ("vp", "eps"), ("ve", "edm")], QUICK[2:]))
def test_likelihood_of_normal_data(schedule, target):
    trainer, x = best_trainer(schedule, target), points(50)
    found = flow_log_likelihood(trainer.denoiser, x, steps=100, mean=0.4)
    expected = (-0.5 * ((x - 0.4) / 0.5) ** 2 - np.log(0.5) - 0.5 * np.log(2 * np.pi)).sum(-1)
    np.testing.assert_allclose(found, expected, atol=0.03)
    if schedule != "flow":
        with pytest.raises(ArgumentError, match="within those of the training"):
            flow_log_likelihood(trainer.denoiser, x, highest=500.0)
    with pytest.raises(ArgumentError, match="continuous"):
        flow_log_likelihood(best_trainer("linear", "eps").denoiser, x)


@pytest.mark.slow
def test_bits_of_a_perfect_network_are_those_of_the_formula():
    """The bound of normal data: the error of the best prediction is known at every step, and the first is drawn."""
    schedule, deviation, rng = DiscreteSchedule(shape="cosine", steps=50), 0.3, np.random.default_rng(0)
    trainer = best_trainer(schedule, "x0", mean=0.0, deviation=deviation)
    levels = np.clip(np.round((rng.normal(0, deviation, (4000, 2)) + 1) / 2 * 255), 0, 255)
    bits = image_bits(trainer.denoiser, levels / 255 * 2 - 1).mean()

    rate = schedule.signal
    beta, error = 1 - rate[1:] / rate[:-1], deviation**2 * (1 - rate) / (rate * deviation**2 + 1 - rate)
    smaller = beta * (1 - rate[:-1]) / (1 - rate[1:])
    nats = (rate[:-1] * beta**2 / (1 - rate[1:]) ** 2 * error[1:] / (2 * smaller)).sum()
    gap, scale = rng.normal(0, np.sqrt(error[0]), 200_000), np.sqrt(smaller[0])
    nats -= np.log(stats.norm.cdf((gap + 1 / 255) / scale) - stats.norm.cdf((gap - 1 / 255) / scale)).mean()
    assert bits == pytest.approx(nats / np.log(2), abs=0.05)
    assert bits > np.log2(deviation * np.sqrt(2 * np.pi * np.e)) - np.log2(2 / 255)  # the entropy
    with pytest.raises(ArgumentError, match="DiscreteSchedule"):
        image_bits(best_trainer("flow", "flow").denoiser, levels)


def test_labels_are_dropped_in_training_alone_and_guide():
    trainer = Diffusion(small(classes=3), "linear", conditioning=ClassConditioning(classes=3, drop_rate=0.5))
    y = np.arange(600) % 3
    drop = np.random.default_rng(0).uniform(size=600).astype("float32")
    told = np.asarray(trainer._labels(y, drop, True))
    np.testing.assert_array_equal(told, np.where(drop < 0.5, 3, y))
    np.testing.assert_array_equal(trainer._labels(y, drop, False), y)
    for weight in trainer.main.trainable_weights:
        weight.assign(weight + 0.3 * np.random.default_rng(1).normal(size=weight.shape))
    x, number = tf.constant(points(4)), tf.fill((4,), 500.0)
    label, nothing = tf.constant([0, 1, 2, 2]), tf.fill((4,), 3)
    told, untold = (trainer.denoiser.data(x, number, 0.6, 0.8, each)[0] for each in (label, nothing))
    guided, _ = trainer.denoiser.guided_data(Guidance(scale=3.0), x, number, 0.6, 0.8, label)
    np.testing.assert_allclose(guided, untold + 3 * (told - untold), atol=1e-4)
    outside = Guidance(scale=3.0, interval=(600.0, 900.0))
    np.testing.assert_allclose(trainer.denoiser.guided_data(outside, x, number, 0.6, 0.8, label)[0], told, atol=1e-5)
    whole = trainer.denoiser.guided_data(Guidance(scale=3.0, rescale=1.0), x, number, 0.6, 0.8, label)[0]
    np.testing.assert_allclose(np.std(whole, -1), np.std(told, -1), rtol=1e-3)


def test_a_classifier_moves_the_data_along_its_gradient():
    """Bayes' rule on normal data: the logits of two classes at -1 and 1 move the mean by that of the class."""
    trainer = best_trainer("linear", "eps", mean=0.0, deviation=1.0)
    x, time = keras.Input((2,), name="x"), keras.Input((), name="time")
    logits = keras.layers.Dense(2, use_bias=False)
    classifier = keras.Model({"x": x, "time": time}, logits(x))
    logits.set_weights([np.array([[-1.0, 1.0], [0.0, 0.0]])])
    state, number = tf.constant([[0.3, 0.2]]), tf.constant([500.0])
    plain, _ = trainer.denoiser.data(state, number, 0.6, 0.8)
    guidance = Guidance(scale=2.0, classifier=classifier)
    moved, _ = trainer.denoiser.guided_data(guidance, state, number, 0.6, 0.8, tf.constant([1]))
    chance = 1 / (1 + np.exp(0.6))  # of class 0 at 0.3
    np.testing.assert_allclose(moved - plain, [[0.64 / 0.6 * 2 * 2 * chance, 0.0]], atol=1e-5)
    pushed = trainer.sample(500, steps=20, labels=1, guidance=guidance)
    assert pushed[:, 0].mean() > 0.3 > abs(pushed[:, 1].mean())


@pytest.mark.slow
def test_learned_variance_is_trained_and_sampled():
    network = kerasdl.build(
        "dit_s", image_shape=(4, 4, 1), depth=1, width=16, heads=2, classes=None, learned_variance=True
    )
    trainer = Diffusion(network, DiscreteSchedule(steps=50))
    x = np.random.default_rng(0).uniform(-1, 1, (16, 4, 4, 1)).astype("float32")
    with tf.GradientTape() as tape:
        loss = trainer.compute_loss(x, None, trainer(x, training=True), training=True)
    gradients = tape.gradient(loss, trainer.main.get_layer("final_project").kernel.value)
    assert np.abs(gradients).reshape(16, 4, 2).max((0, 1)).min() > 1e-8  # of prediction and variance
    found = trainer.sample(2, steps=5, sampler=Ancestral(variance="learned"), trajectory=True)
    assert found.shape == (6, 2, 4, 4, 1)
    assert np.isfinite(found).all()
    with pytest.raises(ArgumentError, match="DiscreteSchedule"):
        Diffusion(network, "vp")
    with pytest.raises(ArgumentError, match="channels"):
        Diffusion(small()).sample(2, sampler=Ancestral(variance="learned"))


def test_editing_stays_near_and_masks_are_held():
    trainer, x = best_trainer("linear", "eps"), points(200)
    near, far = (trainer.edit(x, strength, steps=40) for strength in (0.1, 1.0))
    assert np.abs(near - x).mean() < 0.5 * np.abs(far - x).mean()
    held = trainer.edit(x, 1.0, mask=[[1.0, 0.0]], steps=40)
    np.testing.assert_allclose(held[:, 0], x[:, 0], atol=1e-4)
    assert np.abs(held[:, 1] - x[:, 1]).mean() > 0.1
    for wrong in (dict(mask=[2.0, 0.0]), dict(mask=np.ones((3, 2))), dict(strength=0.0)):
        with pytest.raises(ArgumentError):
            trainer.edit(x, **wrong)


def test_sampling_repeats_by_seed_and_shows_its_way():
    trainer = best_trainer("flow", "flow")
    states = trainer.sample(3, steps=6, sampler="euler", trajectory=True)
    assert states.shape == (7, 3, 2)
    np.testing.assert_array_equal(states[-1], trainer.sample(3, steps=6, sampler="euler"))
    assert np.abs(trainer.sample(3, steps=6, seed=1) - trainer.sample(3, steps=6)).max() > 0.01
    noise = np.ones((2, 2), "float32")
    np.testing.assert_array_equal(trainer.sample(noise=noise, steps=3), trainer.sample(2, noise=noise, steps=3))
    assert len(trainer.programs) == 4  # compiled once for each set of settings


@pytest.mark.slow
def test_a_killed_run_continues_bit_for_bit(tmp_path):
    def trained(folder, epochs):
        keras.utils.set_random_seed(3)
        trainer = Diffusion(small(classes=2), "cosine", "v", ClassConditioning(classes=2))
        config = RunConfig(epochs=epochs, batch_size=16, folder=folder, progress="off", ema=0.9, learning_rate=1e-3)
        return fit(trainer, (points(), np.arange(64) % 2), config=config).model.get_weights()

    whole = trained(None, 4)
    trained(tmp_path, 2)
    for one, other in zip(whole, trained(tmp_path, 4), strict=True):
        np.testing.assert_array_equal(one, other)


def test_latents_are_those_of_the_encoder_which_stays():
    encoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2)])
    decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(6)])
    trainer = LatentDiffusion(small(), encoder, decoder, "flow", "flow", scale=3.0)
    data = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")
    np.testing.assert_allclose(trainer(data)["x0"], 3 * np.asarray(encoder(data)), rtol=1e-5)
    before = [each.numpy() for each in (*encoder.weights, *decoder.weights)]
    fit(trainer, data, config=RunConfig(epochs=1, progress="off"))
    for weight, old in zip((*encoder.weights, *decoder.weights), before, strict=True):
        np.testing.assert_array_equal(weight, old)
    codes = Diffusion.sample(trainer, 4, steps=3)
    assert codes.shape == (4, 6)
    assert trainer.sample(4, steps=3, trajectory=True).shape == (4, 4, 6)
    with pytest.raises(ArgumentError, match="codes"):
        LatentDiffusion(small(features=3), encoder, decoder)


def test_thin_constructors_are_the_one_trainer():
    assert ScoreSDE(small(), "ve").schedule == VESchedule()
    assert ScoreSDE(small(), VPSchedule(high=10.0)).schedule.high == 10.0
    flow = FlowMatching(small(), schedule=FlowSchedule(shift=3.0))
    assert (flow.denoiser.target, flow.schedule.shift) == ("flow", 3.0)
    for make in (lambda: ScoreSDE(small(), "linear"), lambda: FlowMatching(small(), schedule=VPSchedule())):
        with pytest.raises(ArgumentError):
            make()


def test_parts_that_do_not_fit_are_refused():
    net, told = small(), small(classes=3)
    classes = ClassConditioning(classes=3)
    for make in (
        lambda: Diffusion(net, DiscreteSchedule(zero_terminal=True), "eps"),
        lambda: Diffusion(net, "flow", "eps"),
        lambda: Diffusion(net, "ve", "v"),
        lambda: Diffusion(net, "linear", "noise"),
        lambda: Diffusion(net, "linear", "edm", weighting="min_snr"),
        lambda: Diffusion(net, 3),
        lambda: Diffusion(told),
        lambda: Diffusion(net, conditioning=classes),
        lambda: Diffusion(told, conditioning=3),
        lambda: Diffusion(told, conditioning=ClassConditioning(classes=4)),
        lambda: Diffusion(kerasdl.build("mobilenet_v2", image_shape=(32, 32, 3), width=0.25, classes=2)),
        lambda: ClassConditioning(classes=0),
        lambda: ClassConditioning(classes=3, drop_rate=1.0),
        lambda: Guidance(scale=-1.0),
        lambda: Guidance(interval=(5.0, 1.0)),
        lambda: Guidance(classifier=net.layers[0]),
        lambda: DiscreteSchedule(steps=0),
        lambda: DiscreteSchedule().plan(1001),
        lambda: VESchedule(low=1.0, high=0.5),
    ):
        with pytest.raises(ArgumentError):
            make()
    with pytest.raises(UnknownNameError, match="cosine"):
        Diffusion(net, "cosines")


def test_data_labels_and_counts_that_do_not_fit_are_refused():
    plain, told = Diffusion(small()), Diffusion(small(classes=3), conditioning=ClassConditioning(classes=3))
    x, y = points(4), np.array([0, 1, 2, 0])
    for use in (
        lambda: plain(np.zeros((4, 3), "float32")),
        lambda: plain.compute_loss(x, y, plain(x)),
        lambda: told.compute_loss(x, None, told(x)),
        lambda: plain.compute_loss(x, None, plain(x), np.ones((4, 2))),
        lambda: plain.sample(),
        lambda: plain.sample(0),
        lambda: plain.sample(2, labels=[0, 1]),
        lambda: plain.sample(2, guidance=2.0),
        lambda: plain.sample(2, noise=np.full((2, 2), np.nan)),
        lambda: plain.sample(3, noise=np.zeros((2, 2))),
        lambda: plain.sample(2, steps=0),
        lambda: plain.sample(2, clip=-1.0),
        lambda: told.sample(2),
        lambda: told.sample(2, labels=[0, 4]),
        lambda: told.sample(2, labels=[0.5, 1.0]),
        lambda: told.sample(3, labels=[0, 1]),
    ):
        with pytest.raises(ArgumentError):
            use()
    for labels in ([0, 1, 2, 3], [0, -1, 2, 0]):  # 3 is the label of no class
        with pytest.raises(tf.errors.InvalidArgumentError, match="from 0 to 2"):
            told.compute_loss(x, np.array(labels), told(x))
    with pytest.raises(tf.errors.InvalidArgumentError, match="whole numbers"):
        told.compute_loss(x, np.array([0.0, 1.5, 2.0, 0.0], "float32"), told(x))


def test_bits_are_of_levels_and_classes():
    told = Diffusion(small(classes=3), conditioning=ClassConditioning(classes=3)).denoiser
    levels = np.array([[-1.0, 1.0], [0.0, 0.0]], "float32")
    for images, labels in (
        (levels * 2, None),
        (levels + 0.3, None),
        (levels * np.nan, None),
        (levels[:, :1], None),
        (levels, [0, 4]),
        (levels, [0.0, 1.0]),
        (levels, [0]),
    ):
        with pytest.raises(ArgumentError, match=r"images must be|labels must be"):
            image_bits(told, images, labels, levels=3)
    with pytest.raises(ArgumentError, match="for a network with classes"):
        image_bits(Diffusion(small()).denoiser, levels, [0, 1], levels=3)


def test_data_of_another_size_than_stated_are_told():
    trainer = Diffusion(kerasdl.build("diffusion_mlp", width=8, depth=1))
    rng, once = np.random.default_rng(0), RunConfig(steps=1, batch_size=16, progress="off", strategy=None)
    points = rng.normal(size=(64, 2)).astype("float32")
    for raw in (points * 50, points + 30, points * 0.01, (points * 40 + 127).clip(0, 255).astype("uint8")):
        with pytest.warns(DataWarning, match="deviation=0.5"):
            fit(trainer, raw.astype("float32"), config=once)
    for fitting in (points * 0.5, points, points * 0.2 + 0.3):
        with warnings.catch_warnings():
            warnings.simplefilter("error", DataWarning)
            fit(trainer, fitting.astype("float32"), config=once)
