"""The health of data: what a person should know about the rows before a model learns from them."""
