"""Work of a bundle: data preparation, evaluation, fine-tuning, export."""
