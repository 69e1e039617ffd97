CREATE TABLE item_embeddings (
    batch VARCHAR NOT NULL,
    dataset VARCHAR NOT NULL,
    item_id VARCHAR NOT NULL,
    persona_id VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    text_hash VARCHAR NOT NULL,
    embedding FLOAT[],
    unread DOUBLE,
    unread_hash VARCHAR
);
COMMENT ON TABLE item_embeddings IS 'Unit vectors of the items that the lexical stage kept';
COMMENT ON COLUMN item_embeddings.batch IS 'Batch of the item';
COMMENT ON COLUMN item_embeddings.dataset IS 'Dataset of the item';
COMMENT ON COLUMN item_embeddings.item_id IS 'Item';
COMMENT ON COLUMN item_embeddings.persona_id IS 'Persona that the item was written for';
COMMENT ON COLUMN item_embeddings.model IS 'Embedding model; vectors of different models are never compared';
COMMENT ON COLUMN item_embeddings.text_hash IS 'Hash of the embedded text, so that a model embeds no text of a dataset twice';
COMMENT ON COLUMN item_embeddings.embedding IS 'Float32 vector of length 1 of the column text; null if the server refuses the text';
COMMENT ON COLUMN item_embeddings.unread IS 'Share of the letters that the model does not read; 1 for a refused text';
COMMENT ON COLUMN item_embeddings.unread_hash IS 'Hash of the words that the model does not know, empty if it knows all; for a text longer than the context of the model, hash of the text with the prefix long-; refused for a text that the server refuses. Only items with equal hashes are compared';
