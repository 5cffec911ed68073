"""Lightning and W&B: data, fine-tuning, callbacks, evaluation, tracking."""
