-- Replaces the rows of the batches in the mart; rows is the query of the view duplicates for them
DELETE FROM dropped WHERE batch IN {batches};

INSERT INTO dropped {rows};
