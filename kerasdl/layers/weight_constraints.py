"""Constraints of kernels: spectral normalisation (https://arxiv.org/abs/1802.05957).

Deviations: the kernel itself is divided after each update, in place of a second kernel that is divided in each forward
pass; the norm comes from `iterations` of Lanczos's method in place of one power iteration from the vector of the last
update. So a network keeps plain layers, which every export takes, and a constraint has no state of its own.
"""

from typing import Any

import keras
from keras import ops

from kerasdl.core import checks
from kerasdl.ops import spectral_norm


@keras.saving.register_keras_serializable("kerasdl")
class SpectralNorm(keras.constraints.Constraint):
    """Spectral normalisation: after each update a kernel is divided by its largest singular value.

    A kernel is read as a matrix with a column for each place of its last axis. A kernel of zeros stays.

    Source: https://arxiv.org/abs/1802.05957, section 2.1.

    Args:
        norm: the spectral norm afterwards, above 0.
        iterations: as in `kerasdl.ops.spectral_norm`.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> round(float(np.linalg.norm(SpectralNorm()(np.diag([4.0, 2.0])), 2)), 4)
        1.0
    """

    def __init__(self, norm: float = 1.0, iterations: int = 10):
        self.norm = checks.within("norm", norm, 1e-6, 1e6)
        self.iterations = checks.at_least("iterations", iterations, 1)

    def __call__(self, w: Any) -> Any:
        w = ops.convert_to_tensor(w)
        size = spectral_norm(ops.reshape(w, (-1, w.shape[-1])), self.iterations)
        return w * (self.norm / ops.maximum(size, 1e-12))

    def get_config(self) -> dict[str, Any]:
        return {"norm": self.norm, "iterations": self.iterations}
