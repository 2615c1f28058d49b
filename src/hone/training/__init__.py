"""The one trainer, its losses, checkpoints and watchers."""
