CREATE TABLE semantic_decisions (
    batch VARCHAR NOT NULL,
    persona_id VARCHAR NOT NULL,
    admission BIGINT NOT NULL,
    keeper_id VARCHAR,
    similarity DOUBLE
);
COMMENT ON TABLE semantic_decisions IS 'Every decision of the semantic stage, kept ones too: the state that later dedup runs read';
COMMENT ON COLUMN semantic_decisions.batch IS 'Batch of the persona';
COMMENT ON COLUMN semantic_decisions.persona_id IS 'A candidate that reached this stage';
COMMENT ON COLUMN semantic_decisions.admission IS 'Dedup run that first decided about it at this stage';
COMMENT ON COLUMN semantic_decisions.keeper_id IS 'Null if kept, else the persona it was dropped for';
COMMENT ON COLUMN semantic_decisions.similarity IS 'Null if kept, else the embedding cosine with the keeper';
