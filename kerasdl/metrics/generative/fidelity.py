"""Fidelity and diversity of samples: Inception score, precision and recall, density and coverage, memorisation."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from kerasdl.core import checks
from kerasdl.core.outputs.decoding import softmax

from .sample_sets import SampleSets, features_of


class ScoreFigures(NamedTuple):
    """Inception score over splits.

    Example:
        >>> ScoreFigures(9.2, 0.1, 5000).mean
        9.2
    """

    mean: float
    """Mean over the splits, from 1 to the number of classes."""
    deviation: float
    """Standard deviation over the splits."""
    size: int
    """Samples in all."""


class InceptionScore:
    """Inception score: how sure a classifier is of each sample, and how evenly its answers are spread.

    It is exp(mean KL(p(class | sample) || p(class))); it does not look at real samples, and says little about data that
    the classifier was not trained on.

    Source: https://arxiv.org/abs/1606.03498, section 4.

    Args:
        classifier: a model or function from samples to logits or probabilities (N, K); None takes them as they are.
        from_logits: whether these are logits.
        splits: parts of the samples, over which mean and deviation are taken.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> score = InceptionScore(from_logits=False, splits=1)
        >>> score.update_state(np.eye(4))
        >>> round(score.result().mean, 6)
        4.0
    """

    def __init__(self, classifier: Callable | None = None, *, from_logits: bool = True, splits: int = 10):
        self.classifier, self.from_logits = classifier, from_logits
        self.splits = checks.at_least("splits", splits, 1)
        self.reset_state()

    def reset_state(self) -> None:
        """Forgets all samples."""
        self.kept: list[np.ndarray] = []

    def update_state(self, samples: Any) -> None:
        """Adds samples.

        Args:
            samples: (N, ...), or logits or probabilities (N, K) without a classifier.

        Raises:
            ArgumentError: outputs are not (N, K), not finite, or no probabilities.
        """
        outputs = features_of(samples, self.classifier)
        if self.from_logits and outputs.min() >= 0 and np.abs(outputs.sum(axis=1) - 1.0).max() < 1e-3:
            checks.refuse("logits must be given with from_logits=True", "rows that are probabilities", "Pass False.")
        scores = softmax(outputs) if self.from_logits else outputs
        if scores.min() < 0 or np.abs(scores.sum(axis=1) - 1.0).max() > 1e-3:
            checks.refuse("probabilities must sum to 1", float(scores.sum(axis=1).max()), "Or pass from_logits=True.")
        self.kept.append(scores)

    def result(self) -> ScoreFigures:
        """Returns the score of all samples so far, in their order.

        Raises:
            ArgumentError: there are fewer samples than splits.
        """
        scores = np.concatenate(self.kept) if self.kept else np.zeros((0, 1))
        if len(scores) < self.splits:
            checks.refuse(f"at least {self.splits} samples must be given, one for each split", len(scores))
        found = []
        for part in np.array_split(scores, self.splits):
            with np.errstate(divide="ignore", invalid="ignore"):
                terms = np.where(part > 0, part * (np.log(part) - np.log(part.mean(axis=0))), 0.0)
            found.append(np.exp(terms.sum(axis=1).mean()))
        return ScoreFigures(float(np.mean(found)), float(np.std(found)), len(scores))


class ManifoldFigures(NamedTuple):
    """Figures of samples beside real ones.

    Example:
        >>> ManifoldFigures(1.0, 0.5, 0.9, 0.6, 3).recall
        0.5
    """

    precision: float
    """Share of generated samples within the reach of a real one: fidelity."""
    recall: float
    """Share of real samples within the reach of a generated one: diversity."""
    density: float
    """Mean number of real samples in whose reach a generated one is, over the neighbours; it may pass 1."""
    coverage: float
    """Share of real samples in whose reach is a generated one."""
    neighbours: int
    """The reach of a sample ends at its neighbour of this number."""


class Manifold(SampleSets):
    """Precision, recall, density and coverage of generated samples, by balls around each sample.

    Source: precision and recall: https://arxiv.org/abs/1904.06991, section 2; density and coverage:
    https://arxiv.org/abs/2002.09797, section 3.

    Args:
        features: a model or function from samples to features (N, D); None takes features as they are.
        neighbours: number of the neighbour at which the ball of a sample ends; the papers take 3 and 5.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> manifold = Manifold(neighbours=1)
        >>> manifold.update_state(np.array([[0.0], [1.0], [5.0], [6.0]]), "real")
        >>> manifold.update_state(np.array([[0.4], [0.6]]), "generated")
        >>> manifold.result()[:2]
        (1.0, 0.0)
    """

    def __init__(self, features: Callable | None = None, *, neighbours: int = 5):
        super().__init__(features)
        self.neighbours = checks.at_least("neighbours", neighbours, 1)

    def result(self) -> ManifoldFigures:
        """Returns the figures of all samples so far.

        Raises:
            ArgumentError: there are not more samples of one kind than neighbours.
        """
        real, made = self.both(self.neighbours + 1)
        reach, reach_made = (_reach(each, self.neighbours) for each in (real, made))
        apart = cdist(real, made)  # (real, made)
        inside = apart <= reach[:, None]
        return ManifoldFigures(
            precision=float(inside.any(axis=0).mean()),
            recall=float((apart <= reach_made[None]).any(axis=1).mean()),
            density=float(inside.sum(axis=0).mean() / self.neighbours),
            coverage=float(inside.any(axis=1).mean()),
            neighbours=self.neighbours,
        )


def _reach(points: np.ndarray, neighbours: int) -> np.ndarray:
    """Returns the distance of each point to its neighbour of that number; the point itself is none."""
    return np.partition(cdist(points, points), neighbours, axis=1)[:, neighbours]


def memorised_share(generated: Any, train: Any, held_out: Any, *, quantile: float = 0.01) -> float:
    """Returns the share of generated samples that are nearer to a training sample than held-out data nearly ever are.

    The threshold is a quantile of the distances of real samples, which were not trained on, to their nearest training
    sample: so this share of them is below it by chance.

    Args:
        generated: features (N, D), or pixels in rows.
        train: the same of the training samples.
        held_out: the same of other real samples.
        quantile: from 0 to below 1.

    Returns:
        A share from 0 to 1; about `quantile` where nothing is memorised.

    Raises:
        ArgumentError: shapes do not fit, or a number is not finite.

    Example:
        >>> train, held_out = np.arange(10.0)[:, None], np.arange(10.0)[:, None] + 0.5
        >>> memorised_share(train[:4], train, held_out)
        1.0
    """
    checks.within("quantile", quantile, 0.0, 0.999)
    made, known, others = (features_of(each, None) for each in (generated, train, held_out))
    if len({each.shape[1] for each in (made, known, others)}) > 1:
        checks.refuse("samples must have the same number of features", [each.shape for each in (made, known, others)])
    threshold = np.quantile(cdist(others, known).min(axis=1), quantile)
    return float((cdist(made, known).min(axis=1) < threshold).mean())
