"""Objectives of a run: losses, metrics, labels and class weights, checked against the model and the data."""
