CREATE TABLE takedowns (
    takedown_id VARCHAR NOT NULL,
    target VARCHAR NOT NULL,
    reason VARCHAR,
    begun_at TIMESTAMP NOT NULL,
    finished_at TIMESTAMP,
    effect VARCHAR NOT NULL,
    place VARCHAR NOT NULL,
    batch VARCHAR,
    rows BIGINT NOT NULL
);
COMMENT ON TABLE takedowns IS 'Receipts of takedowns: effects by place and batch';
COMMENT ON COLUMN takedowns.takedown_id IS 'Hash of the targets; the same command continues this takedown';
COMMENT ON COLUMN takedowns.target IS 'document, url_prefix, persona or batch';
COMMENT ON COLUMN takedowns.reason IS 'Reason given by the user';
COMMENT ON COLUMN takedowns.begun_at IS 'Begin of the takedown (UTC)';
COMMENT ON COLUMN takedowns.finished_at IS 'End of the takedown (UTC); null: run it again to finish it';
COMMENT ON COLUMN takedowns.effect IS 'removed, changed (rows of a source file, texts of the Dagster instance), displaced (duplicates of removed personas: they return when their batch is run), released (rows of a release, which is not changed), submitted (requests at a batch API, which are not recalled), unread (content that could not be read) or outside (rows of a source file outside of the home, which is not changed)';
COMMENT ON COLUMN takedowns.place IS 'Table, journal, source file, release, or other part of the home';
COMMENT ON COLUMN takedowns.batch IS 'Batch, null without one';
COMMENT ON COLUMN takedowns.rows IS 'Number of rows';
