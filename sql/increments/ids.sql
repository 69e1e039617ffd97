-- Replaces the ids of the batches in the mart; rows is the query of the view ids for them
CREATE TEMP TABLE new_ids AS
SELECT *, hash(kind, batch, asset, status, prompt, prompt_fingerprint, model) AS alike FROM ({rows});

CREATE TEMP TABLE new_places AS
SELECT
    (row_number() OVER () + (SELECT coalesce(max(place), 0) FROM places))::INTEGER AS place,
    alike, kind, batch, asset, status, prompt, prompt_fingerprint, model
FROM (SELECT DISTINCT ON (alike) * FROM new_ids);

DELETE FROM sorted_ids WHERE place IN (SELECT place FROM places WHERE batch IN {batches});

DELETE FROM places WHERE batch IN {batches};

INSERT INTO places SELECT * EXCLUDE (alike) FROM new_places;

-- Behind the others, which stay in order: the build sorts all of them again when these are many.
INSERT INTO sorted_ids SELECT id, place FROM new_ids JOIN new_places USING (alike) ORDER BY id;

DROP TABLE new_ids;
DROP TABLE new_places;
