"""Registry of models and tasks, and the static index that answers without TensorFlow."""
