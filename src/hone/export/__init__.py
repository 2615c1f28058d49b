"""Writing a finished model: as a Hugging Face folder, as a GGUF file, for Ollama; and whether it is the same model."""
