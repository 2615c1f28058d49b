"""A card compiled to what other programs read: a Jinja chat template and an Ollama Modelfile."""
