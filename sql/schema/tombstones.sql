CREATE TABLE tombstones (
    takedown_id VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    batch VARCHAR,
    mark VARCHAR NOT NULL,
    taken_at TIMESTAMP NOT NULL
);
COMMENT ON TABLE tombstones IS 'Hashes of removed rows, which keep them out: no text, no id, no address';
COMMENT ON COLUMN tombstones.takedown_id IS 'The takedown, in takedowns';
COMMENT ON COLUMN tombstones.kind IS 'Kind of the mark: document (its id), url, url_prefix, text, persona (its text and parent), request (its key, so that no recorded answer to it is imported), or batch (as a whole; its key is not used again)';
COMMENT ON COLUMN tombstones.batch IS 'Batch in which it applies, null for all batches, including later ones';
COMMENT ON COLUMN tombstones.mark IS 'Hash; a url_prefix is stored in clear text';
COMMENT ON COLUMN tombstones.taken_at IS 'Time of the takedown (UTC)';
