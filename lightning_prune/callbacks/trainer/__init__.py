"""What the callbacks ask of a Trainer: its optimizers, ranks, strategy and other callbacks."""
