"""Refusals of `Trainer` and of `fit` with one: networks, optimizers, settings without effect, strategies."""

import keras
import pytest
from toy_trainers import GAN, LATENT, ONE, WIDTH, data, gan, mlp, settings, vae

from kerasdl.core.errors import ArgumentError
from kerasdl.train import Trainer, find_learning_rate, fit
from kerasdl.train.distribute.placement import model_in_scope


def test_a_range_test_needs_one_optimizer():
    with pytest.raises(ArgumentError, match=r"must have one optimizer; got \('generator', 'discriminator'\)"):
        find_learning_rate(gan(), data())


def test_float16_needs_optimizers_that_scale_the_loss():
    trainer = gan(compiled=False)
    scaling = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())
    trainer.compile({"generator": scaling, "discriminator": "adam"})
    with pytest.raises(ArgumentError, match=r"needs optimizers that scale the loss.*\['discriminator'\]"):
        fit(trainer, data(), config=settings(mixed_precision="float16"))


def test_networks_must_be_functional():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(
        ArgumentError, match="network 'b' of Trainer must be functional or Sequential, and built; got 'Own'"
    ):
        Trainer({"a": mlp("a", 2, 2), "b": Own()})
    with pytest.raises(ArgumentError, match="network 'a' of Trainer must be functional or Sequential, and built"):
        Trainer({"a": keras.Sequential([keras.layers.Dense(2)])})
    with pytest.raises(ArgumentError, match="networks must be a mapping from roles to models"):
        Trainer(mlp("a", 2, 2))


def test_every_trainable_variable_has_one_optimizer():
    trainer = gan(compiled=False)
    trainer.compile({"generator": "adam"})
    with pytest.raises(
        ArgumentError, match=r"of GAN must be in one of its optimizers .* got .*discriminator.* in none"
    ):
        fit(trainer, data(), config=settings())
    trainer.networks["discriminator"].trainable = False
    with pytest.raises(ArgumentError, match=r"role must be one of \('generator',\)"):
        fit(trainer, data(), config=settings())

    class Twice(GAN):
        @property
        def optimizers(self):
            return {role: (each, self.trainable_variables) for role, each in self.by_role.items()}

    trainer = Twice(mlp("generator", LATENT, WIDTH), mlp("discriminator", WIDTH, 1))
    trainer.compile({"generator": "adam", "discriminator": "adam"})
    with pytest.raises(ArgumentError, match=r"in \['generator', 'discriminator'\]"):
        fit(trainer, data(), config=settings())


@pytest.mark.parametrize(
    ("made", "given", "text"),
    [
        (
            gan,
            {"config": settings(accumulation=2)},
            r"computes all gradients before the first; got 'a second one, by Adam'",
        ),
        (gan, {"config": settings(learning_rate=0.1)}, r"leave these settings out; got \['learning_rate'\]"),
        (gan, {"config": settings(ema=0.9)}, r"leave these settings out; got \['ema'\]"),
        (gan, {"metrics": ["mae"]}, r"leave these settings out; got \['metrics'\]"),
        (gan, {"validation": data()}, "must have a test_step of its own to validate"),
        (lambda: gan(compiled=False), {}, r"role must be one of \('all',\).*got 'discriminator'.*trainer.compile\("),
        (vae, {"loss": "mse"}, "computes its own loss must not be given another loss; got 'VAE'"),
        (vae, {"config": settings(remat=True)}, "call"),
    ],
    ids=["parts", "rate", "ema", "metrics", "validation", "roles", "loss", "remat"],
)
def test_what_it_would_not_heed_is_refused(made, given, text):
    with pytest.raises(ArgumentError, match=text):
        fit(made(), data(), **{"config": settings(), **given})


def test_several_optimizers_need_a_step_that_knows_them():
    trainer = vae()
    trainer.compile({"encoder": "adam", "decoder": "adam"})
    with pytest.raises(ArgumentError, match="need a trainer with its own train_step"):
        fit(trainer, data(), config=settings())
    with pytest.raises(ArgumentError, match=r"by the roles \('decoder', 'encoder'\); got \['judge'\]"):
        trainer.compile({"judge": "adam"})


def test_what_cannot_be_made_again_is_told_where_to_be_made():
    class Layered(GAN):
        def __init__(self, generator, discriminator, layer):
            super().__init__(generator, discriminator)
            self.layer = layer

    layer = keras.layers.Dense(2)
    layer.build((None, 2))
    trainer = Layered(mlp("generator", LATENT, WIDTH), mlp("discriminator", WIDTH, 1), layer)
    with (
        pytest.raises(ArgumentError, match=r"made again must share no variable; got '2 of .*strategy.scope"),
        model_in_scope(trainer, ONE),
    ):
        pass

    class Compiles(GAN):
        def compile(self, rate):
            super().compile(keras.optimizers.SGD(rate))

    trainer = Compiles(mlp("generator", LATENT, WIDTH), mlp("discriminator", WIDTH, 1))
    trainer.compile(0.1)
    with pytest.raises(ArgumentError, match="must leave compile as it is; got 'Compiles'"):
        fit(trainer, data(), config=settings(strategy=ONE))
