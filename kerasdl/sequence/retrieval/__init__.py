"""Retrieval of texts by meaning."""
