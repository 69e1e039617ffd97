CREATE TABLE semantic_duplicates (
    batch VARCHAR NOT NULL,
    persona_id VARCHAR NOT NULL,
    keeper_id VARCHAR NOT NULL,
    similarity DOUBLE NOT NULL,
    admission BIGINT NOT NULL
);
COMMENT ON TABLE semantic_duplicates IS 'Candidates dropped at the semantic stage, each with the persona it was dropped for';
COMMENT ON COLUMN semantic_duplicates.batch IS 'Batch of the dropped persona';
COMMENT ON COLUMN semantic_duplicates.persona_id IS 'The dropped persona';
COMMENT ON COLUMN semantic_duplicates.keeper_id IS 'The persona kept at this stage that it is too similar to, of any batch';
COMMENT ON COLUMN semantic_duplicates.similarity IS 'embedding cosine of the two';
COMMENT ON COLUMN semantic_duplicates.admission IS 'Dedup run that first decided about it at this stage';
