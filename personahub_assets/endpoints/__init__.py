"""HTTP to OpenAI-compatible servers, for chat and embeddings alike: transport, waits, and whose fault an error is."""
