"""Texts of your own: files of rows (text, CSV, JSON lines), folders of text files, and docstrings of Python."""
