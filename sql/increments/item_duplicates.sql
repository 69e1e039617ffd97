-- Replaces the rows of the batches in the mart; rows is the query of the view item_duplicates for them
DELETE FROM dropped_items WHERE batch IN {batches};

INSERT INTO dropped_items {rows};
