"""What each engine besides vLLM takes of a GPU: its own arithmetic, every formula with its source."""
