"""Cross-validation: one run for each fold, and predictions for all examples while they were held out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold

from kerasdl.core import checks
from kerasdl.core.seed import set_seed

from .sweep_results import Interval, interval_of

Arrays = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class CrossValidation:
    """Figures and predictions of all folds."""

    figures: tuple[Mapping[str, float], ...]
    """The figures of each fold."""
    predictions: np.ndarray | None
    """Predictions for held-out examples in the order of the data; None where the runs return none."""

    def interval(self, name: str, confidence: float = 0.95) -> Interval:
        """Returns the mean of a figure over the folds, with Student's interval.

        Folds share training data, so the interval is too narrow (Bengio and Grandvalet 2004): read it as their spread.

        Raises:
            ArgumentError: there is no such figure.
        """
        checks.one_of("name", name, tuple(self.figures[0]))
        return interval_of([fold[name] for fold in self.figures], confidence)


def cross_validate(
    run: Callable[[Arrays, Arrays, int], Any],
    data: Arrays,
    *,
    folds: int = 5,
    stratified: bool = True,
    seed: int = 0,
) -> CrossValidation:
    """Calls `run` once for each fold, with the data outside and inside the fold.

    scikit-learn makes the folds, shuffled by the seed.

    Args:
        run: function of (x, y) for training, (x, y) held out, and the number of the fold. It builds a new model and
            returns a dict of figures, or a pair of a dict and an array of predictions for the held-out examples.
            `kerasdl.set_seed(seed)` is called before each call.
        data: inputs and labels, arrays of one length.
        folds: 2 or more.
        stratified: whether each fold has the class shares of all data; labels must then be integers.
        seed: seed of the folds and of each run.

    Returns:
        The figures of each fold, and the predictions in the order of the data.

    Raises:
        ArgumentError: an argument breaks its range, the folds return different figures, or only some
            return predictions.

    Example:
        >>> x, y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2
        >>> result = cross_validate(lambda train, held, fold: {"held": len(held[1])}, (x, y), folds=4)
        >>> result.interval("held").mean
        5.0
    """
    checks.at_least("folds", folds, 2)
    inputs, labels = (np.asarray(part) for part in data)
    if len(inputs) != len(labels) or len(labels) < folds:
        checks.refuse(f"data must be two arrays of one length, {folds} or more", (len(inputs), len(labels)))
    figures, predictions = [], []
    for fold, (rest, held) in enumerate(split(labels, folds, stratified, seed)):
        set_seed(seed)
        result = run((inputs[rest], labels[rest]), (inputs[held], labels[held]), fold)
        fold_figures, fold_predictions = result if isinstance(result, tuple) else (result, None)
        figures.append({name: float(value) for name, value in fold_figures.items()})
        if figures[0].keys() != figures[-1].keys():
            checks.refuse(f"every fold must give the figures {tuple(figures[0])}", tuple(figures[-1]))
        if fold_predictions is not None and len(fold_predictions) != len(held):
            checks.refuse(
                f"fold {fold} must give a prediction for each of its {len(held)} examples", len(fold_predictions)
            )
        predictions.append((held, fold_predictions))
    return CrossValidation(tuple(figures), _in_order(predictions))


def _in_order(predictions: Sequence[tuple[np.ndarray, Any]]) -> np.ndarray | None:
    indices, parts = zip(*predictions, strict=True)
    missing = [fold for fold, each in enumerate(parts) if each is None]
    if len(missing) == len(parts):
        return None
    if missing:
        checks.refuse("where one fold gives predictions, all must", dict.fromkeys(missing))
    return np.concatenate([np.asarray(each) for each in parts])[np.argsort(np.concatenate(indices))]


def split(labels: np.ndarray, folds: int, stratified: bool, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields, for each fold, the indices outside and inside it."""
    if stratified and (labels.ndim > 1 or labels.dtype.kind not in "iub"):
        checks.refuse("stratified folds need labels that are whole numbers", labels.dtype, "Pass stratified=False.")
    kind = StratifiedKFold if stratified else KFold
    yield from kind(folds, shuffle=True, random_state=seed).split(np.zeros(len(labels)), labels)
