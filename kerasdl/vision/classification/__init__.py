"""Image classification tasks: one label per image, and several labels."""
