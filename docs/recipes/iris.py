"""Species of iris by a small net, beside eight classical classifiers: `python docs/recipes/iris.py`.

Ten seconds. A tree, a forest, neighbours and logistic regression are right for all 30 test flowers, as the net is;
least squares and k-means are not. On so small a table a net is no better.
"""

import kerasdl
from kerasdl.foundations import baselines


def accuracy(seed: int = 0) -> float:
    """Trains the net of `kerasdl.build("mlp")`, and returns its accuracy on test flowers."""
    kerasdl.set_seed(seed)
    train, test = kerasdl.data.load("iris"), kerasdl.data.load("iris", "test")
    model = kerasdl.build("mlp", features=4, classes=3, hidden=(16,))
    config = kerasdl.train.RunConfig(epochs=60, batch_size=16, learning_rate=1e-2, seed=seed, progress="off")
    kerasdl.train.fit(model, train, config=config)
    rows, species = test.arrays()
    return float((model.predict(rows, verbose=0).argmax(axis=1) == species).mean())


def main(seeds: int = 3) -> list[dict]:
    """Prints a table of all, and returns its rows."""
    train, test = (kerasdl.data.load("iris", split).arrays() for split in ("train", "test"))
    rows = baselines.compare_classifiers(train, test, seeds=seeds)
    rows.append({"name": "net in Keras", "accuracy": accuracy()})
    for row in rows:
        print(f"{row['name']:20}{row['accuracy']:.3f}")
    return rows


if __name__ == "__main__":
    main()
