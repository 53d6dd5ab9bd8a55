"""The training loop, its recipe, optimizers, state and checkpoints."""
