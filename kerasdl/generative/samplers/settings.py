"""Samplers by name."""

from collections.abc import Mapping
from types import MappingProxyType

from kerasdl.core import checks

from .heun import Heun
from .multistep import DPMSolver, UniPC
from .one_step import DDIM, Ancestral, Euler

Sampler = Ancestral | DDIM | Euler | DPMSolver | Heun | UniPC
SAMPLERS: Mapping[str, Sampler] = MappingProxyType(
    {
        "ancestral": Ancestral(),
        "ddim": DDIM(),
        "dpm_solver": DPMSolver(),
        "euler": Euler(),
        "heun": Heun(),
        "unipc": UniPC(),
    }
)
"""Samplers by name, with their default settings."""


def as_sampler(sampler: str | Sampler) -> Sampler:
    """Returns a sampler, given itself or its name.

    Args:
        sampler: a name of `SAMPLERS`, or a sampler.

    Raises:
        UnknownNameError: an unknown name.
        ArgumentError: it is no sampler.

    Example:
        >>> as_sampler("ddim")
        DDIM(eta=0.0)
    """
    if isinstance(sampler, str):
        return SAMPLERS[checks.known_name("sampler", sampler, SAMPLERS)]
    if not isinstance(sampler, Sampler):
        checks.refuse("a sampler must be a name or an object of kerasdl.generative.samplers", sampler)
    return sampler
