CREATE TABLE batches (
    batch VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    path VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    rows BIGINT NOT NULL,
    registered_at TIMESTAMP NOT NULL,
    format VARCHAR NOT NULL,
    first_row BIGINT NOT NULL,
    first_byte BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    text_column VARCHAR,
    persona_column VARCHAR,
    reading VARCHAR
);
COMMENT ON TABLE batches IS 'Batches (partitions): one source file, or a slice of a large one';
COMMENT ON COLUMN batches.batch IS 'Batch key';
COMMENT ON COLUMN batches.source IS 'Path of the source file, or its address without user name, password and signature';
COMMENT ON COLUMN batches.path IS 'Local file that is read: the source itself, or its download in the inbox';
COMMENT ON COLUMN batches.sha256 IS 'SHA-256 of the whole source file when it was registered';
COMMENT ON COLUMN batches.rows IS 'Rows of this slice; a row is, for example, a line of JSONL or a record of CSV';
COMMENT ON COLUMN batches.registered_at IS 'Time of the last registration (UTC)';
COMMENT ON COLUMN batches.format IS 'Format of the source file, such as jsonl';
COMMENT ON COLUMN batches.first_row IS 'Number of the first row of this slice, from 0';
COMMENT ON COLUMN batches.first_byte IS 'First byte of the slice in the decompressed text or in a web archive; 0 if rows are counted from the start';
COMMENT ON COLUMN batches.bytes IS 'Size of the whole source file when it was registered';
COMMENT ON COLUMN batches.text_column IS 'Column with the text, if it was named at registration';
COMMENT ON COLUMN batches.persona_column IS 'Column with the persona, if it was named at registration';
COMMENT ON COLUMN batches.reading IS 'Options for reading the file, such as the dialect of CSV, as a JSON object; null for the defaults of the format';
