CREATE TABLE dedup_runs (
    batch VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    rule VARCHAR NOT NULL,
    method VARCHAR NOT NULL,
    recall DOUBLE,
    candidates BIGINT NOT NULL,
    kept BIGINT NOT NULL
);
COMMENT ON TABLE dedup_runs IS 'How the stored decisions about each batch were made, by stage';
COMMENT ON COLUMN dedup_runs.batch IS 'Batch';
COMMENT ON COLUMN dedup_runs.stage IS 'lexical or semantic';
COMMENT ON COLUMN dedup_runs.rule IS 'What was compared, and the threshold; another rule decides all batches again';
COMMENT ON COLUMN dedup_runs.method IS 'How similar pairs were found: exact, minhash or usearch';
COMMENT ON COLUMN dedup_runs.recall IS 'Share of the keepers found, on a sample of rows where the index was used; 1 for exact, null for minhash';
COMMENT ON COLUMN dedup_runs.candidates IS 'Personas of the batch that reached the stage';
COMMENT ON COLUMN dedup_runs.kept IS 'Those of them that were kept';
