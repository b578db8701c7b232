"""Fine-tuning, distillation, progressive resizing. Imports every room of train but diagnostics and evaluation."""
