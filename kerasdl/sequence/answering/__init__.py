"""Extractive question answering: windows of long texts, spans of answers, the task and its class."""
