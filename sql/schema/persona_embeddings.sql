CREATE TABLE persona_embeddings (
    batch VARCHAR NOT NULL,
    persona_id VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    text_hash VARCHAR NOT NULL,
    embedding FLOAT[],
    unread DOUBLE,
    unread_hash VARCHAR
);
COMMENT ON TABLE persona_embeddings IS 'Unit vectors of the personas that the lexical stage kept';
COMMENT ON COLUMN persona_embeddings.batch IS 'Batch key';
COMMENT ON COLUMN persona_embeddings.persona_id IS 'Persona';
COMMENT ON COLUMN persona_embeddings.model IS 'Embedding model; vectors of different models are never compared';
COMMENT ON COLUMN persona_embeddings.text_hash IS 'Hash of the embedded text, so that a model embeds no text twice';
COMMENT ON COLUMN persona_embeddings.embedding IS 'Float32 vector of length 1; null if the server refuses the text. For functions of lists write list_concat(embedding, []), because DuckDB refuses to compute with lists that it read beside a null';
COMMENT ON COLUMN persona_embeddings.unread IS 'Share of the letters that the model does not read; 1 for a refused text; null in rows of older versions';
COMMENT ON COLUMN persona_embeddings.unread_hash IS 'Hash of the words that the model does not know, empty if it knows all; for a text longer than the context of the model, hash of the text with the prefix long-; refused for a text that the server refuses. Only personas with equal hashes are compared';
