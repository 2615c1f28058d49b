"""Conversations, how a model family writes them down, and how they become tokens."""
