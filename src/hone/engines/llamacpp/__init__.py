"""GGUF files answered by llama.cpp: its numbers, our ids, templates, sampling and scheduling."""
