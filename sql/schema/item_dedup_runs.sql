CREATE TABLE item_dedup_runs (
    batch VARCHAR NOT NULL,
    dataset VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    rule VARCHAR NOT NULL,
    method VARCHAR NOT NULL,
    recall DOUBLE,
    candidates BIGINT NOT NULL,
    kept BIGINT NOT NULL
);
COMMENT ON TABLE item_dedup_runs IS 'Method of the stored decisions about the items of each batch, by dataset and stage';
COMMENT ON COLUMN item_dedup_runs.batch IS 'Batch';
COMMENT ON COLUMN item_dedup_runs.dataset IS 'Dataset';
COMMENT ON COLUMN item_dedup_runs.stage IS 'lexical or semantic';
COMMENT ON COLUMN item_dedup_runs.rule IS 'Comparison and threshold; if the rule changes, all batches are decided again. not compared: near_duplicates is false';
COMMENT ON COLUMN item_dedup_runs.method IS 'Method by which similar pairs were found: exact, minhash or cells; usearch in earlier versions';
COMMENT ON COLUMN item_dedup_runs.recall IS 'Share of the keepers that the index found, on a sample; 1 for exact, null for minhash';
COMMENT ON COLUMN item_dedup_runs.candidates IS 'Items of the batch that reached the stage';
COMMENT ON COLUMN item_dedup_runs.kept IS 'Items that were kept';
