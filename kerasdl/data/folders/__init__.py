"""Folders of images: layout, reading, doubles."""
