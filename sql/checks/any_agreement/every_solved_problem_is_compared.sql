-- Every problem with solutions was compared, with its current text; if not, run the comparison again
-- severity: warn
SELECT DISTINCT s.batch, s.source_id, 'personahub run --select {asset} --batch ' || s.batch AS remedy
FROM {solutions} AS s
LEFT JOIN {asset} AS a ON a.batch = s.batch AND a.source_id = s.source_id
WHERE a.source_id IS NULL OR a.source_hash <> s.source_hash
