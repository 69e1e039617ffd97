CREATE TABLE word_diversity (
    batch VARCHAR NOT NULL,
    dataset VARCHAR NOT NULL,
    words BIGINT NOT NULL,
    texts BIGINT NOT NULL,
    distinct_1 DOUBLE NOT NULL,
    distinct_2 DOUBLE,
    compression_ratio DOUBLE NOT NULL,
    self_repetition DOUBLE
);
COMMENT ON TABLE word_diversity IS 'How much the words of a dataset''s items differ, at 100, 1,000 and 10,000 words; compare only rows of equal words, since all these measures depend on the length';
COMMENT ON COLUMN word_diversity.batch IS 'Batch of the items';
COMMENT ON COLUMN word_diversity.dataset IS 'Dataset of the items';
COMMENT ON COLUMN word_diversity.words IS 'Words that were measured, of a sample of the items';
COMMENT ON COLUMN word_diversity.texts IS 'Items that have these words';
COMMENT ON COLUMN word_diversity.distinct_1 IS 'Different words / all words';
COMMENT ON COLUMN word_diversity.distinct_2 IS 'Different pairs of adjacent words / all such pairs';
COMMENT ON COLUMN word_diversity.compression_ratio IS 'Bytes / bytes after zlib; higher: more repetition';
COMMENT ON COLUMN word_diversity.self_repetition IS 'Share of the 4-grams of an item that another item has too';
