"""The outside world: files, the warehouse, the language model, the embedder."""
