CREATE TABLE skipped (
    batch VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    rows BIGINT NOT NULL
);
COMMENT ON TABLE skipped IS 'Counts of source file records that are not pages, such as requests and images in web archives';
COMMENT ON COLUMN skipped.batch IS 'Batch key';
COMMENT ON COLUMN skipped.kind IS 'Type of the record, type of its content, or status of the response';
COMMENT ON COLUMN skipped.rows IS 'Number of rows of this kind in the batch';
