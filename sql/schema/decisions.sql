CREATE TABLE decisions (
    batch VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    persona_id VARCHAR NOT NULL,
    admission BIGINT NOT NULL,
    keeper_id VARCHAR,
    similarity DOUBLE
);
COMMENT ON TABLE decisions IS 'All decisions of both dedup stages, including kept personas: the state that later dedup runs read';
COMMENT ON COLUMN decisions.batch IS 'Batch of the persona';
COMMENT ON COLUMN decisions.stage IS 'lexical or semantic';
COMMENT ON COLUMN decisions.persona_id IS 'Candidate of this stage';
COMMENT ON COLUMN decisions.admission IS 'Dedup run that first decided about it at this stage';
COMMENT ON COLUMN decisions.keeper_id IS 'Null if kept, else the persona it was dropped for';
COMMENT ON COLUMN decisions.similarity IS 'Null if kept, else the similarity to the keeper: word-set Jaccard at the lexical stage, cosine at the semantic stage';
