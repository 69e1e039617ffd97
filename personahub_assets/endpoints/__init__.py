"""HTTP to OpenAI-compatible servers, for chat and embeddings alike: transport, waits, and classification of errors."""
