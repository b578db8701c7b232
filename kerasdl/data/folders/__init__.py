"""Folders of images: layout, reading, duplicates."""
