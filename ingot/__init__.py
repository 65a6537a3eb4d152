"""Ingot: bare GPU servers become a private, OpenAI-compatible LLM service."""
