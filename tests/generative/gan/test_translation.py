"""pix2pix and CycleGAN: published counts, the losses of a step, the history of images, refusals."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from point_nets import compiled, config
from unallocated import unallocated

import kerasdl
from kerasdl.core.errors import ArgumentError
from kerasdl.data import DataWarning, as_dataset
from kerasdl.generative import CycleGAN, Pix2Pix
from kerasdl.generative.gan.cyclegan import History
from kerasdl.train import fit

SIDE = 8


def learnt(name):
    with unallocated():
        return sum(int(np.prod(weight.shape)) for weight in kerasdl.build(name).trainable_weights)


def test_counts_are_the_published_ones():
    down = [(3, 64), (64, 128), (128, 256), (256, 512), *[(512, 512)] * 4]
    up = [(512, 512), *[(1024, 512)] * 3, (1024, 256), (512, 128), (256, 64), (128, 3)]
    norms = 2 * (128 + 256 + 4 * 512 + 4 * 512 + 256 + 128 + 64)
    assert learnt("pix2pix_generator") == 16 * sum(a * b for a, b in down + up) + norms + 3 == 54_413_955
    patches = [(64, 128), (128, 256), (256, 512), (512, 1)]
    kernels = 16 * sum(a * b for a, b in patches)
    assert learnt("patch_discriminator") == kernels + 16 * 6 * 64 + 64 + 2 * (128 + 256 + 512) + 1 == 2_768_705
    assert learnt("cyclegan_discriminator") == kernels + 16 * 3 * 64 + 64 + 128 + 256 + 512 + 1 == 2_764_737
    stem, ends = 49 * 3 * 64 + 64, 49 * 64 * 3 + 3
    sides = 2 * 9 * (64 * 128 + 128 * 256) + 128 + 256 + 128 + 64
    assert learnt("cyclegan_generator") == stem + sides + 18 * (9 * 256 * 256 + 256) + ends == 11_378_179


def test_the_dropout_of_the_unet_is_behind_the_levels_of_the_paper():
    with unallocated():
        names = [layer.name for layer in kerasdl.build("pix2pix_generator").layers]
    assert [name for name in names if name.endswith("drop")] == ["up6_drop", "up5_drop", "up4_drop"]


def pairs(count=8):
    """Images, and their negatives."""
    images = np.random.default_rng(0).uniform(-1, 1, (count, SIDE, SIDE, 1)).astype("float32")
    return images, -images


def pix2pix(**settings):
    keras.utils.set_random_seed(0)
    shape = (SIDE, SIDE, 1)
    generator = kerasdl.build("pix2pix_generator", image_shape=shape, channels=1, filters=(6, 8), dropout=0.0)
    judge = kerasdl.build("patch_discriminator", image_shape=shape, given_channels=1, filters=(6, 8))
    return Pix2Pix(generator, judge, **settings)


def test_the_distance_to_the_target_is_added():
    given, target = pairs()
    figures = []
    for weight in (0.0, 10.0):
        trainer = compiled(pix2pix(distance=weight), 0.0, "sgd")
        made = trainer.networks["generator"](given, training=True).numpy()
        figures.append(trainer.train_step((tf.constant(given), tf.constant(target))))
    added = float(figures[1]["generator_loss"] - figures[0]["generator_loss"])
    assert added == pytest.approx(10 * np.abs(made - target).mean(), rel=1e-3)
    np.testing.assert_allclose(figures[0]["discriminator_loss"], figures[1]["discriminator_loss"], rtol=1e-4)
    assert float(figures[0]["discriminator_loss"]) == pytest.approx(np.log(2), rel=0.3)  # half of 2 log 2 at the start
    assert pix2pix().translate(given).shape == target.shape
    with pytest.raises(ArgumentError, match=r"Call translate\(images\)"):
        trainer.sample(2)
    with pytest.raises(ArgumentError, match="must be pairs"):
        fit(trainer, given, config=config())
    with pytest.raises(ArgumentError, match="must have the shape"):
        fit(trainer, (given, target[:, :4]), config=config())
    with pytest.raises(ArgumentError, match="must take given and image"):
        Pix2Pix(trainer.networks["generator"], trainer.networks["generator"])


def cyclegan(**settings):
    keras.utils.set_random_seed(0)
    shape = (SIDE, SIDE, 1)
    makers = [kerasdl.build("cyclegan_generator", image_shape=shape, channels=1, width=4, blocks=1) for _ in range(2)]
    judges = [kerasdl.build("cyclegan_discriminator", image_shape=shape, filters=(6, 8)) for _ in range(2)]
    return CycleGAN(*makers, *judges, **settings)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("make", [pix2pix, lambda: cyclegan(identity=0.0)], ids=["pix2pix", "cyclegan"])
def test_raw_pixels_on_either_side_are_told(make, place):
    data = [*pairs(4)]
    data[place] = 127.5 * (1.0 + data[place])
    for given in (tuple(data), tf.data.Dataset.from_tensor_slices(tuple(data)).batch(2)):
        with pytest.warns(DataWarning, match="has pixels up to 25"):
            make().check_data(as_dataset(given))


def test_the_losses_of_a_step_are_the_equations():
    first, second = pairs()
    trainer = compiled(cyclegan(cycle=10.0, identity=0.5, history=0), 0.0, "sgd")
    g, f, judge_second, judge_first = trainer.networks.values()
    figures = trainer.train_step((tf.constant(first), tf.constant(second)))
    made_second, made_first = g(first).numpy(), f(second).numpy()
    cycle = np.abs(f(made_second) - first).mean() + np.abs(g(made_first) - second).mean()
    same = np.abs(g(second) - second).mean() + np.abs(f(first) - first).mean()
    deceived = [
        np.mean((judge(made) - 1) ** 2) / 2 for judge, made in ((judge_second, made_second), (judge_first, made_first))
    ]
    np.testing.assert_allclose(figures["cycle_loss"], cycle, rtol=1e-4)
    np.testing.assert_allclose(figures["identity_loss"], same, rtol=1e-4)
    np.testing.assert_allclose(figures["generator_loss"], sum(deceived) + 10 * (cycle + 0.5 * same), rtol=1e-4)
    halves = [
        np.mean((judge(real) - 1) ** 2) + np.mean(judge(made) ** 2)
        for judge, real, made in ((judge_second, second, made_second), (judge_first, first, made_first))
    ]
    np.testing.assert_allclose(figures["discriminator_loss"], sum(halves) / 4, rtol=1e-4)


def test_history_fills_and_then_exchanges_half():
    history = History((1,), 6, seed=0)
    first = tf.reshape(tf.range(1.0, 7.0), (6, 1))
    np.testing.assert_array_equal(history.exchanged(first[:4]), first[:4])
    np.testing.assert_array_equal(history.exchanged(first[4:]), first[4:])
    np.testing.assert_array_equal(history.images.numpy(), first)
    exchanged, new = 0, 100.0
    for _ in range(40):
        images = tf.reshape(tf.range(new, new + 4), (4, 1))
        before = set(history.images.numpy().ravel())
        given = history.exchanged(images).numpy().ravel()
        after = set(history.images.numpy().ravel())
        older = set(given) & before
        assert len(after) == 6
        assert before - after == older  # what is handed out is no longer kept
        assert after - before == set(images.numpy().ravel()) - set(given)
        exchanged, new = exchanged + len(older), new + 4
    assert 55 < exchanged < 105  # of 160
    large = tf.reshape(tf.range(900.0, 909.0), (9, 1))
    np.testing.assert_array_equal(history.exchanged(large)[6:], large[6:])
    np.testing.assert_array_equal(History((1,), 0, seed=0).exchanged(large), large)


def blobs(count):
    """Images of a bright blob on black, whose negatives are another style."""
    places = np.random.default_rng(0).uniform(0.2, 0.8, (count, 2, 1, 1))
    line = np.linspace(0, 1, SIDE)
    squares = (line[:, None] - places[:, 0]) ** 2 + (line - places[:, 1]) ** 2
    return (2 * np.exp(-20 * squares) - 1)[..., None].astype("float32")


@pytest.mark.slow
def test_a_run_of_cyclegan_learns_the_other_style_and_the_way_back():
    trainer, images = cyclegan(history=4), blobs(32)
    trainer.compile({role: keras.optimizers.Adam(2e-3, 0.5) for role in trainer.networks})
    run = fit(trainer, (images, -images), config=config(epochs=30, batch_size=8))
    assert run.history["cycle_loss"][-1] < 0.4 * run.history["cycle_loss"][0]
    found = trainer.translate(images)
    assert np.abs(found + images).mean() < 0.5 < np.abs(found - images).mean()
    back = trainer.translate(found, to="first")
    assert np.abs(back - images).mean() < 0.4


def test_what_cyclegan_refuses():
    trainer = cyclegan()
    nets = list(trainer.networks.values())
    with pytest.raises(ArgumentError, match="must be four"):
        CycleGAN(nets[0], nets[0], *nets[2:])
    with pytest.raises(ArgumentError, match="loss must be one of"):
        cyclegan(loss="relativistic")
    with pytest.raises(ArgumentError, match="to must be one of"):
        trainer.translate(pairs()[0], to="third")
    with pytest.raises(ArgumentError, match=r"must be .images of the first style"):
        fit(compiled(trainer), pairs()[0], config=config())
    with pytest.raises(ArgumentError, match="must have the shape"):
        trainer.translate(np.zeros((1, 9, 9, 1), "float32"))
