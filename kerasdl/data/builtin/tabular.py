"""Small tables embedded in scikit-learn, standardised by their train split."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn import datasets

from ..dataset import Dataset
from ..sources import Examples
from ..splits import stratified_split


@dataclass(frozen=True)
class Table:
    """Table of scikit-learn: loader, task, licence."""

    read: Callable
    """scikit-learn's loader."""
    task: str
    """Task that the labels belong to."""
    licence: str
    """The terms under which the table may be used."""


TABLES = {
    "iris": Table(datasets.load_iris, "tabular_classification", "CC BY 4.0 (UCI Machine Learning Repository, Iris)"),
    "breast_cancer": Table(
        datasets.load_breast_cancer,
        "tabular_classification",
        "CC BY 4.0 (UCI Machine Learning Repository, Breast Cancer Wisconsin (Diagnostic))",
    ),
    "wine": Table(datasets.load_wine, "tabular_classification", "CC BY 4.0 (UCI Machine Learning Repository, Wine)"),
    "diabetes": Table(
        datasets.load_diabetes,
        "tabular_regression",
        "not stated by scikit-learn; data of Efron, Hastie, Johnstone and Tibshirani (2004)",
    ),
}


def read_table(name: str, split: str) -> Dataset:
    """Returns a fixed split; each feature has mean 0 and standard deviation 1 over the train split.

    Inputs are float32 (D,); labels are int32 classes, or the raw figure as float32 for `diabetes`.
    """
    table = TABLES[name]
    bunch = table.read()
    is_classes = table.task == "tabular_classification"
    strata = bunch.target if is_classes else np.zeros(len(bunch.target))
    train, indices = stratified_split(strata, "train"), stratified_split(strata, split)
    mean, std = bunch.data[train].mean(axis=0), bunch.data[train].std(axis=0)
    features = ((bunch.data[indices] - mean) / std).astype(np.float32)
    return Dataset(
        name=name,
        task=table.task,
        class_names=tuple(map(str, bunch.target_names)) if is_classes else (),
        input_shape=features.shape[1:],
        input_dtype="float32",
        size=len(indices),
        licence=table.licence,
        seekable=True,
        scale=None,
        source=Examples(features, bunch.target[indices].astype(np.int32 if is_classes else np.float32)),
        feature_names=tuple(map(str, bunch.feature_names)),
        feature_mean=tuple(map(float, mean)),
        feature_std=tuple(map(float, std)),
    )
