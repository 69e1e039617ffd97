CREATE TABLE persona_item_similarity (
    batch VARCHAR NOT NULL,
    dataset VARCHAR NOT NULL,
    persona_cosine DOUBLE,
    pairs BIGINT NOT NULL,
    item_cosine DOUBLE NOT NULL,
    less_alike DOUBLE NOT NULL,
    pearson DOUBLE
);
COMMENT ON TABLE persona_item_similarity IS 'How alike two items are, by how alike their personas are (figure 10 of the paper), for a sample of each batch';
COMMENT ON COLUMN persona_item_similarity.batch IS 'Batch of the items';
COMMENT ON COLUMN persona_item_similarity.dataset IS 'Dataset of the items';
COMMENT ON COLUMN persona_item_similarity.persona_cosine IS 'Pairs whose personas have a cosine from here to 0.1 more; null for all pairs';
COMMENT ON COLUMN persona_item_similarity.pairs IS 'Pairs of items';
COMMENT ON COLUMN persona_item_similarity.item_cosine IS 'Mean cosine of the two items';
COMMENT ON COLUMN persona_item_similarity.less_alike IS 'Share of the pairs whose items are less alike than their personas';
COMMENT ON COLUMN persona_item_similarity.pearson IS 'Correlation of both cosines, in the row of all pairs; null if it is not defined';
