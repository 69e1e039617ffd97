CREATE TABLE tombstones (
    takedown_id VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    batch VARCHAR,
    mark VARCHAR NOT NULL,
    taken_at TIMESTAMP NOT NULL
);
COMMENT ON TABLE tombstones IS 'Hashes of what was taken down, to keep it out: no text, no id, no address';
COMMENT ON COLUMN tombstones.takedown_id IS 'The takedown, in takedowns';
COMMENT ON COLUMN tombstones.kind IS 'What mark is of: document (its id), url, url_prefix, text, persona (its text and parent), request (its key, so that no recorded answer to it is taken in), or batch (as a whole; its key is not used again)';
COMMENT ON COLUMN tombstones.batch IS 'Batch that it counts in, null for all, later ones included';
COMMENT ON COLUMN tombstones.mark IS 'Hash; a url_prefix is stored in clear text';
COMMENT ON COLUMN tombstones.taken_at IS 'When it was taken down (UTC)';
