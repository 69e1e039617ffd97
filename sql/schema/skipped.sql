CREATE TABLE skipped (
    batch VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    rows BIGINT NOT NULL
);
COMMENT ON TABLE skipped IS 'Rows of source files that nobody wants to read, such as requests and images in web archives, counted';
COMMENT ON COLUMN skipped.batch IS 'Batch key';
COMMENT ON COLUMN skipped.kind IS 'Type of the record, type of its content, or status of the response';
COMMENT ON COLUMN skipped.rows IS 'How many rows of the batch are of this kind';
