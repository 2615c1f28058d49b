"""Losses as pure functions of log-probabilities, scores and logits, and the numbers that follow from them."""
