"""Checkpoints: whole or not there, proven by their manifest, and the place where a run begins or goes on."""
