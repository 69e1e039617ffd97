-- Every row of every source file is a document, an imported persona or a quarantine row
WITH used AS (
    SELECT batch FROM documents
    UNION ALL
    SELECT batch FROM text_personas WHERE origin = 'imported'
    UNION ALL
    SELECT batch FROM quarantine WHERE asset = 'documents'
),
counted AS (SELECT batch, count(*) AS accounted FROM used GROUP BY batch)
SELECT b.batch, b.rows, coalesce(c.accounted, 0) AS accounted
FROM batches AS b
LEFT JOIN counted AS c USING (batch)
-- A batch that has no partition yet has nothing to account for.
WHERE b.rows <> coalesce(c.accounted, 0) AND c.accounted IS NOT NULL
