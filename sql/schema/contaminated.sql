CREATE TABLE contaminated (
    batch VARCHAR NOT NULL,
    dataset VARCHAR NOT NULL,
    item_id VARCHAR NOT NULL,
    persona_id VARCHAR NOT NULL,
    test_file VARCHAR NOT NULL,
    test_row BIGINT NOT NULL,
    method VARCHAR NOT NULL,
    similarity DOUBLE NOT NULL,
    passage VARCHAR NOT NULL
);
COMMENT ON TABLE contaminated IS 'Items that match a row of a test set; they stay in their table, and are not released';
COMMENT ON COLUMN contaminated.batch IS 'Batch of the item';
COMMENT ON COLUMN contaminated.dataset IS 'Dataset of the item';
COMMENT ON COLUMN contaminated.item_id IS 'The item';
COMMENT ON COLUMN contaminated.persona_id IS 'Persona that the item was written for';
COMMENT ON COLUMN contaminated.test_file IS 'Name of the file with the test set';
COMMENT ON COLUMN contaminated.test_row IS 'Number of the test row in its file, from 0';
COMMENT ON COLUMN contaminated.method IS 'long_run, short_run (words in a row), embedding, or source: the item that it is made from matches';
COMMENT ON COLUMN contaminated.similarity IS 'Share of the runs of the test row that the item has, or the cosine';
COMMENT ON COLUMN contaminated.passage IS 'The words that both have; for an embedding the beginning of the test row';
