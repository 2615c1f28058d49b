"""Hone takes a language model from raw weights to a tuned, measured, served model."""

__version__ = "0.1.0"
