-- Replaces the rows of the batches {batches} in the mart duplicates; {rows} is the query of the view for them
DELETE FROM dropped WHERE batch IN {batches};

INSERT INTO dropped {rows};
