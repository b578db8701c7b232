"""Registry of models and tasks, and its static index, readable without TensorFlow."""
