"""Chat with language models."""
