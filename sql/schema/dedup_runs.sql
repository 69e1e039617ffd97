CREATE TABLE dedup_runs (
    batch VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    rule VARCHAR NOT NULL,
    method VARCHAR NOT NULL,
    recall DOUBLE,
    candidates BIGINT NOT NULL,
    kept BIGINT NOT NULL
);
COMMENT ON TABLE dedup_runs IS 'Method of the stored decisions about each batch, by stage';
COMMENT ON COLUMN dedup_runs.batch IS 'Batch';
COMMENT ON COLUMN dedup_runs.stage IS 'lexical or semantic';
COMMENT ON COLUMN dedup_runs.rule IS 'Comparison and threshold; if the rule changes, all batches are decided again';
COMMENT ON COLUMN dedup_runs.method IS 'Method by which similar pairs were found: exact, minhash or cells; usearch in earlier versions';
COMMENT ON COLUMN dedup_runs.recall IS 'Share of the keepers that the index found, on a sample; 1 for exact, null for minhash';
COMMENT ON COLUMN dedup_runs.candidates IS 'Personas of the batch that reached the stage';
COMMENT ON COLUMN dedup_runs.kept IS 'Candidates that were kept';
