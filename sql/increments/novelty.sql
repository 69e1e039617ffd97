-- Replaces the rows of the batches in the mart; rows is the query of the view novelty for them
DELETE FROM new_per_hop WHERE batch IN {batches};

INSERT INTO new_per_hop {rows};
