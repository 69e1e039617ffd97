CREATE TABLE lexical_decisions (
    batch VARCHAR NOT NULL,
    persona_id VARCHAR NOT NULL,
    admission BIGINT NOT NULL,
    keeper_id VARCHAR,
    similarity DOUBLE
);
COMMENT ON TABLE lexical_decisions IS 'Every decision of the lexical stage, kept ones too: the state that later dedup runs read';
COMMENT ON COLUMN lexical_decisions.batch IS 'Batch of the persona';
COMMENT ON COLUMN lexical_decisions.persona_id IS 'A candidate that reached this stage';
COMMENT ON COLUMN lexical_decisions.admission IS 'Dedup run that first decided about it at this stage';
COMMENT ON COLUMN lexical_decisions.keeper_id IS 'Null if kept, else the persona it was dropped for';
COMMENT ON COLUMN lexical_decisions.similarity IS 'Null if kept, else the word-set Jaccard with the keeper';
