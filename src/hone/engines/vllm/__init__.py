"""Hugging Face folders answered by vLLM: its batches, kernels and sampling, our ids, templates and stop texts."""
