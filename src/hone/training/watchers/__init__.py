"""Onlookers of a training run: each one a callback that reads and never changes what is learned."""
