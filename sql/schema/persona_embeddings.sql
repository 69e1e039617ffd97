CREATE TABLE persona_embeddings (
    batch VARCHAR NOT NULL,
    persona_id VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    text_hash VARCHAR NOT NULL,
    embedding FLOAT[] NOT NULL,
    unread DOUBLE,
    unread_hash VARCHAR
);
COMMENT ON TABLE persona_embeddings IS 'Unit vectors of the personas that survived the lexical stage';
COMMENT ON COLUMN persona_embeddings.batch IS 'Batch key';
COMMENT ON COLUMN persona_embeddings.persona_id IS 'Persona';
COMMENT ON COLUMN persona_embeddings.model IS 'Embedding model; vectors of different models are never compared';
COMMENT ON COLUMN persona_embeddings.text_hash IS 'Hash of the embedded text: no text is embedded twice by one model';
COMMENT ON COLUMN persona_embeddings.embedding IS 'Float32 vector of length 1';
COMMENT ON COLUMN persona_embeddings.unread IS 'Share of the letters that the model does not read; null: made before this was measured';
COMMENT ON COLUMN persona_embeddings.unread_hash IS 'Hash of the words that the model does not know, empty if it knows all; of the whole text, with long- before, if that is longer than the model reads at once. Only personas of one hash are compared';
