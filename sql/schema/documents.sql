CREATE TABLE documents (
    batch VARCHAR NOT NULL,
    document_id VARCHAR NOT NULL,
    url VARCHAR,
    source VARCHAR,
    text VARCHAR NOT NULL,
    attributes VARCHAR
);
COMMENT ON TABLE documents IS 'Texts to infer personas from';
COMMENT ON COLUMN documents.batch IS 'Batch key';
COMMENT ON COLUMN documents.document_id IS 'Id from the source, else the URL, else a hash of the text; unique within the batch';
COMMENT ON COLUMN documents.url IS 'Address of the text, if known';
COMMENT ON COLUMN documents.source IS 'Origin of the text according to the source file';
COMMENT ON COLUMN documents.text IS 'The text, sanitised: lone surrogates and NUL became U+FFFD';
COMMENT ON COLUMN documents.attributes IS 'The other columns of the source file as a JSON object; for web archives date and language';
