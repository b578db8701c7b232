"""Classical baselines beside a net: linear and logistic regression, trees, forests, boosting, SVM, neighbours, k-means.

Before a net is praised, it has to beat these on the same split. On a small table they are as good or better, and take a
hundredth of the time; their scikit-learn forms are used, and the chapters' own `MLP` stands beside them.
"""

import time
from collections.abc import Callable

import numpy as np

from . import optimizers
from .networks import MLP


def classifiers() -> dict[str, Callable[[int], object]]:
    """Returns makers of scikit-learn's classifiers by name, each from a seed.

    Example:
        >>> sorted(classifiers())[:2]
        ['SVM', 'decision tree']
    """
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression, RidgeClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC
    from sklearn.tree import DecisionTreeClassifier

    return {
        "linear": lambda seed: RidgeClassifier(),
        "logistic": lambda seed: LogisticRegression(max_iter=1000),
        "decision tree": lambda seed: DecisionTreeClassifier(random_state=seed),
        "random forest": lambda seed: RandomForestClassifier(random_state=seed),
        "gradient boosting": lambda seed: GradientBoostingClassifier(n_estimators=50, random_state=seed),
        "SVM": lambda seed: SVC(),
        "nearest neighbours": lambda seed: KNeighborsClassifier(),
        "k-means": lambda seed: NearestCentre(seed),
        "MLP": lambda seed: NetClassifier(seed),
    }


class NearestCentre:
    """k-means as a classifier: three centres a class, and each point has the most frequent class of its centre.

    Example:
        >>> points, labels = np.array([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]]), np.array([0, 0, 0, 1, 1, 1])
        >>> NearestCentre(0).fit(points, labels).predict(np.array([[4.9]]))
        array([1])
    """

    def __init__(self, seed: int = 0):
        self.seed = seed

    def fit(self, inputs: np.ndarray, labels: np.ndarray) -> "NearestCentre":
        """Finds the centres without labels, and names them by the labels of their points."""
        from sklearn.cluster import KMeans

        count = min(len(inputs), 3 * len(np.unique(labels)))
        self.centres = KMeans(count, n_init=4, random_state=self.seed).fit(inputs)
        members = [labels[self.centres.labels_ == each] for each in range(count)]
        self.names = np.array([np.bincount(each).argmax() if len(each) else 0 for each in members])
        return self

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Returns the class (N,) of the nearest centre."""
        return self.names[self.centres.predict(inputs)]


class NetClassifier:
    """The chapters' `MLP` with one hidden layer of 64, trained for 60 epochs.

    Example:
        >>> points, labels = np.array([[-1.0], [1.0]] * 8), np.array([0, 1] * 8)
        >>> NetClassifier(0).fit(points, labels).predict(np.array([[2.0]]))
        array([1])
    """

    def __init__(self, seed: int = 0):
        self.seed = seed

    def fit(self, inputs: np.ndarray, labels: np.ndarray) -> "NetClassifier":
        """Trains on inputs (N, D) and classes (N,)."""
        targets = np.eye(labels.max() + 1)[labels]
        self.net = MLP((inputs.shape[1], 64, targets.shape[1]), seed=self.seed)
        self.net.fit(inputs, targets, epochs=60, optimizer=optimizers.Adam(3e-3))
        return self

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Returns the likeliest class (N,)."""
        return self.net.predict_classes(inputs)


def compare_classifiers(
    train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], *, seeds: int = 3
) -> list[dict]:
    """Trains every baseline and the net on one split, and returns a row each, the best first.

    Args:
        train: inputs (N, D) and classes (N,), whole numbers from 0.
        test: the same, of other examples.
        seeds: trainings of each, with these random numbers.

    Returns:
        Rows of `name`, `accuracy` on the test examples, the mean over seeds, `spread`, the largest less the least of
        them, and `seconds` of one training.

    Raises:
        ValueError: inputs are no table, labels are not one for each row, or there is one class alone.

    Example:
        >>> points, labels = np.array([[-1.0], [1.0]] * 20), np.array([0, 1] * 20)
        >>> {row["accuracy"] for row in compare_classifiers((points, labels), (points, labels), seeds=1)}
        {1.0}
    """
    inputs, labels = np.asarray(train[0], float), np.asarray(train[1])
    if inputs.ndim != 2 or len(np.unique(labels)) < 2:
        raise ValueError(f"baselines need a table (N, D) of two classes or more; got {inputs.shape}.")
    for x, y in (train, test):
        if np.shape(y) != np.shape(x)[:1]:
            raise ValueError(f"each row must have a label; got {np.shape(x)} and {np.shape(y)}.")
    mean, deviation = inputs.mean(axis=0), inputs.std(axis=0) + 1e-9
    scaled, shown = (inputs - mean) / deviation, (np.asarray(test[0], float) - mean) / deviation
    rows = []
    for name, make in classifiers().items():
        started, scores = time.perf_counter(), []
        for seed in range(seeds):
            scores.append(float(np.mean(make(seed).fit(scaled, labels).predict(shown) == test[1])))
        seconds = (time.perf_counter() - started) / seeds
        rows.append({"name": name, "accuracy": np.mean(scores), "spread": np.ptp(scores), "seconds": seconds})
    return sorted(rows, key=lambda row: -row["accuracy"])
