CREATE TABLE item_decisions (
    batch VARCHAR NOT NULL,
    dataset VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    item_id VARCHAR NOT NULL,
    persona_id VARCHAR NOT NULL,
    generation_id VARCHAR NOT NULL,
    text_hash VARCHAR NOT NULL,
    admission BIGINT NOT NULL,
    keeper_id VARCHAR,
    similarity DOUBLE
);
COMMENT ON TABLE item_decisions IS 'All decisions about near-duplicate items, including kept items: the state that later runs read';
COMMENT ON COLUMN item_decisions.batch IS 'Batch of the item';
COMMENT ON COLUMN item_decisions.dataset IS 'Dataset of the item; items of two datasets are never compared';
COMMENT ON COLUMN item_decisions.stage IS 'lexical or semantic';
COMMENT ON COLUMN item_decisions.item_id IS 'Item that reached this stage';
COMMENT ON COLUMN item_decisions.persona_id IS 'Persona that the item was written for';
COMMENT ON COLUMN item_decisions.generation_id IS 'Call that wrote the item, in generations';
COMMENT ON COLUMN item_decisions.text_hash IS 'Hash of the text; an item with another text is decided again';
COMMENT ON COLUMN item_decisions.admission IS 'Run that first decided about this text at this stage';
COMMENT ON COLUMN item_decisions.keeper_id IS 'Null if kept, else the item it was dropped for';
COMMENT ON COLUMN item_decisions.similarity IS 'Null if kept, else the similarity to the keeper: word-set Jaccard at the lexical stage, cosine at the semantic stage';
