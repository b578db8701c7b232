"""Descriptions of a TFLite file for its hosts: metadata that Android reads, and what a GPU delegate takes."""
