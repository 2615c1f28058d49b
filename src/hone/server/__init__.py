"""The HTTP server: OpenAI's shapes outside, conversations and token ids inside."""
