CREATE TABLE meaning_diversity (
    batch VARCHAR NOT NULL,
    dataset VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    items BIGINT NOT NULL,
    compared BIGINT NOT NULL,
    near_80 DOUBLE,
    near_90 DOUBLE,
    mean_nearest DOUBLE,
    vendi DOUBLE NOT NULL
);
COMMENT ON TABLE meaning_diversity IS 'How much the meanings of a dataset''s items differ, by their vectors; compare only rows of similar numbers of items';
COMMENT ON COLUMN meaning_diversity.batch IS 'Batch of the items';
COMMENT ON COLUMN meaning_diversity.dataset IS 'Dataset of the items';
COMMENT ON COLUMN meaning_diversity.model IS 'Embedding model';
COMMENT ON COLUMN meaning_diversity.items IS 'Items with a vector';
COMMENT ON COLUMN meaning_diversity.compared IS 'Items of the sample that were compared with each other';
COMMENT ON COLUMN meaning_diversity.near_80 IS 'Share of the sample with another item of it at a cosine of 0.8 or more';
COMMENT ON COLUMN meaning_diversity.near_90 IS 'Share of the sample with another item of it at a cosine of 0.9 or more';
COMMENT ON COLUMN meaning_diversity.mean_nearest IS 'Mean cosine of an item of the sample with its nearest other one';
COMMENT ON COLUMN meaning_diversity.vendi IS 'Vendi score of all items: how many wholly different items would be as diverse';
