CREATE TABLE {table} (
    batch VARCHAR NOT NULL,
    persona_id VARCHAR NOT NULL,
    persona VARCHAR NOT NULL,
    origin VARCHAR NOT NULL,
    document_id VARCHAR,
    relation VARCHAR,
    granularity VARCHAR,
    hop TINYINT NOT NULL,
    parent_id VARCHAR,
    root_id VARCHAR NOT NULL,
    generation_id VARCHAR,
    attributes VARCHAR
);
COMMENT ON COLUMN {table}.batch IS 'Batch key';
COMMENT ON COLUMN {table}.persona_id IS 'Hash of batch, parent or document, relation and text';
COMMENT ON COLUMN {table}.persona IS 'One or two sentences describing a kind of person';
COMMENT ON COLUMN {table}.origin IS 'text (inferred from a document), relation (from another persona) or imported';
COMMENT ON COLUMN {table}.document_id IS 'Document at the root of its line, null for imported personas';
COMMENT ON COLUMN {table}.relation IS 'read, write, like or dislike for text; relation to the parent for relation';
COMMENT ON COLUMN {table}.granularity IS 'coarse or fine, for origin text';
COMMENT ON COLUMN {table}.hop IS 'Relations followed from the root persona, 0 for roots';
COMMENT ON COLUMN {table}.parent_id IS 'Persona that it is related to, null for roots';
COMMENT ON COLUMN {table}.root_id IS 'First persona of its line, itself for roots';
COMMENT ON COLUMN {table}.generation_id IS 'Call that produced it, in generations; null for imported';
COMMENT ON COLUMN {table}.attributes IS 'For imported personas: the other columns of the source file as a JSON object, including ids';
