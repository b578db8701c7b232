"""Video: the task, and recurrent nets over the frames of a clip."""
