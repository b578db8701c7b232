"""Tabular environments: finite states and actions, whose whole table of outcomes can be read."""
