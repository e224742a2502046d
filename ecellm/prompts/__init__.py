"""From samples to prompts and token ids, alike in training and inference."""
