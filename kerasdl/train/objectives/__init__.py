"""Losses, metrics, labels and class weights of a run, checked against the model and the data."""
