"""Batch operations: each looks once at everything it manages, and acts only when something differs."""
