"""Tokenizers, weights, tuners, and what makes them fast."""
