"""Reduction of the learning rate on a plateau."""

import keras

from ..loop.hooks import Patience
from ..optim import schedules


class LowerOnPlateau(Patience):
    """Callback that lowers the learning rate of an optimizer each time the run stops improving."""

    def __init__(self, monitor: tuple[str, str], optimizer: keras.optimizers.Optimizer, plateau: schedules.Plateau):
        super().__init__(monitor, plateau.patience, plateau.min_delta)
        self.optimizer, self.plateau = optimizer, plateau

    def end_epoch(self, epoch: int, figures: dict[str, float]) -> str | None:
        if self.exhausted(figures):
            rate = float(keras.ops.convert_to_numpy(self.optimizer.learning_rate))
            self.optimizer.learning_rate = max(rate * self.plateau.factor, min(rate, self.plateau.floor))
            self.waited = 0
