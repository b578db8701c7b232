"""Classification of images: the task of one label an image, and the task of many."""
