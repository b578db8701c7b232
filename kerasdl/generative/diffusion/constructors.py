"""Thin constructors of the diffusion trainer: score models, flow matching, latent diffusion."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasdl.core import checks

from .schedules import FlowSchedule, VESchedule, VPSchedule
from .settings import ClassConditioning
from .trainer import Diffusion

EQUATIONS = ("vp", "sub_vp", "ve")


class ScoreSDE(Diffusion):
    """Score model of a stochastic differential equation, trained by denoising score matching.

    Source: https://arxiv.org/abs/2011.13456, equation 7, weighted by the variance of the noise.

    Args:
        network: as in `Diffusion`.
        equation: `vp`, `sub_vp` or `ve`, or a `VPSchedule` or `VESchedule`.
        conditioning: as there.
        target: as there; `eps` is the score times -sigma, and `edm` is steadier for `ve`.
        deviation: as there.
        seed: as there.

    Raises:
        ArgumentError: as there, or the equation is another.

    Example:
        >>> ScoreSDE(kerasdl.build("diffusion_mlp", width=16, depth=1), "ve").sample(4, steps=5).shape
        (4, 2)
    """

    def __init__(
        self,
        network: keras.Model | Mapping[str, keras.Model],
        equation: str | VPSchedule | VESchedule = "vp",
        conditioning: ClassConditioning | None = None,
        *,
        target: str = "eps",
        deviation: float = 0.5,
        seed: int = 0,
    ):
        if not isinstance(equation, (VPSchedule, VESchedule)):
            checks.one_of("equation", equation, EQUATIONS)
        super().__init__(network, equation, target, conditioning, deviation=deviation, seed=seed)


class FlowMatching(Diffusion):
    """Flow matching along straight paths (rectified flow): the network predicts the velocity noise - data.

    Source: https://arxiv.org/abs/2210.02747, equation 23; https://arxiv.org/abs/2209.03003, equation 1.

    Args:
        network: as in `Diffusion`.
        conditioning: as there.
        schedule: a `FlowSchedule`; None takes the default.
        deviation: as there.
        seed: as there.

    Raises:
        ArgumentError: as there, or the schedule is another.

    Example:
        >>> flow = FlowMatching(kerasdl.build("diffusion_mlp", width=16, depth=1))
        >>> flow.sample(4, steps=5, sampler="euler").shape
        (4, 2)
    """

    def __init__(
        self,
        network: keras.Model | Mapping[str, keras.Model],
        conditioning: ClassConditioning | None = None,
        *,
        schedule: FlowSchedule | None = None,
        deviation: float = 0.5,
        seed: int = 0,
    ):
        schedule = FlowSchedule() if schedule is None else schedule
        if not isinstance(schedule, FlowSchedule):
            checks.refuse("the schedule of flow matching must be a FlowSchedule", schedule)
        super().__init__(network, schedule, "flow", conditioning, deviation=deviation, seed=seed)


class LatentDiffusion(Diffusion):
    """Latent diffusion: a diffusion of the codes of a trained encoder, whose samples a decoder turns into data.

    Encoder and decoder stay as they are. Codes are multiplied by `scale`; give one over their standard deviation,
    and `deviation=1`.

    Source: https://arxiv.org/abs/2112.10752, section 3.

    Args:
        network: as in `Diffusion`, for codes.
        encoder: model from data to codes (B, ...) of the network's shape, such as the means of a VAE.
        decoder: model from codes to data.
        schedule: as in `Diffusion`, like the following.
        target: as there.
        conditioning: as there.
        scale: factor of the codes, above 0.
        weighting: as there.
        deviation: as there, of scaled codes.
        seed: as there.

    Raises:
        ArgumentError: as there, or encoder, decoder and network do not fit.
        UnknownNameError: there is no schedule of that name.

    Example:
        >>> encoder, decoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2)]), None
        >>> decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(6)])
        >>> latent = LatentDiffusion(kerasdl.build("diffusion_mlp", width=16, depth=1), encoder, decoder, "cosine")
        >>> latent.sample(4, steps=5).shape
        (4, 6)
    """

    def __init__(
        self,
        network: keras.Model | Mapping[str, keras.Model],
        encoder: keras.Model,
        decoder: keras.Model,
        schedule: Any = "linear",
        target: str = "eps",
        conditioning: ClassConditioning | None = None,
        *,
        scale: float = 1.0,
        weighting: str = "simple",
        deviation: float = 1.0,
        seed: int = 0,
    ):
        super().__init__(network, schedule, target, conditioning, weighting=weighting, deviation=deviation, seed=seed)
        self.scale = checks.within("scale", scale, 1e-9, 1e9)
        codes = tuple(encoder.output_shape[1:]), tuple(decoder.input_shape[1:])
        if set(codes) != {self.denoiser.shape}:
            checks.refuse(f"encoder and decoder must have codes {self.denoiser.shape}", codes)
        # not ordinary attributes: Keras would train them
        object.__setattr__(self, "encoder", encoder)
        object.__setattr__(self, "decoder", decoder)

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Returns noisy codes, as `Diffusion` does, of data (B, ...)."""
        codes = self.encoder(inputs, training=False)
        return super().call(ops.stop_gradient(ops.cast(codes, "float32") * self.scale), training=training)

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Shape of one example of the data, before the encoder."""
        return tuple(self.encoder.input_shape[1:])

    def as_learnt(self, values: np.ndarray) -> np.ndarray:
        """Returns the scaled codes (B, ...) of data (B, ...)."""
        return self.encode(values)

    def encode(self, data: Any, batch_size: int = 64) -> np.ndarray:
        """Returns scaled codes (B, ...) of data (B, ...), such as for `edit`."""
        return self.encoder.predict(data, batch_size=batch_size, verbose=0) * self.scale

    def _run(self, *args: Any, **kwargs: Any) -> np.ndarray:
        codes = super()._run(*args, **kwargs)
        flat = codes.reshape(-1, *self.denoiser.shape) / self.scale
        data = self.decoder.predict(flat, batch_size=64, verbose=0)
        return data.reshape(*codes.shape[: codes.ndim - len(self.denoiser.shape)], *data.shape[1:])
