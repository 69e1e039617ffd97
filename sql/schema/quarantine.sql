CREATE TABLE quarantine (
    batch VARCHAR NOT NULL,
    asset VARCHAR NOT NULL,
    input_id VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    detail VARCHAR NOT NULL,
    raw VARCHAR
);
COMMENT ON TABLE quarantine IS 'Inputs without an accepted answer, and unusable rows, each with its reason';
COMMENT ON COLUMN quarantine.batch IS 'Batch key';
COMMENT ON COLUMN quarantine.asset IS 'Asset that could not use the input';
COMMENT ON COLUMN quarantine.input_id IS 'Row of the source file, document or persona';
COMMENT ON COLUMN quarantine.reason IS 'Reason, one of those in docs/reasons.md';
COMMENT ON COLUMN quarantine.detail IS 'Description of the fault, with its place';
COMMENT ON COLUMN quarantine.raw IS 'The bad row or the last bad answer, cut to 4,000 characters';
