-- Replaces the rows of the batches {batches} in the mart novelty; {rows} is the query of the view for them
DELETE FROM new_per_hop WHERE batch IN {batches};

INSERT INTO new_per_hop {rows};
