"""Environments of Gymnasium, stepped on the host."""
