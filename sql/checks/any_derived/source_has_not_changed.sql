-- Every item was made from the current text of its source; if not, run the dataset again
-- severity: warn
SELECT d.batch, d.item_id, d.source_id, 'personahub run --select {dataset} --batch ' || d.batch AS remedy
FROM {dataset} AS d
LEFT JOIN {source} AS s ON s.batch = d.batch AND s.item_id = d.source_id
WHERE s.item_id IS NULL OR left(sha256(s.text), 16) <> d.source_hash
