-- Every row of every source file is a document, an imported persona, a quarantine row, or was skipped and counted
WITH used AS (
    SELECT batch, 1 AS rows FROM documents
    UNION ALL
    SELECT batch, 1 FROM text_personas WHERE origin = 'imported'
    UNION ALL
    SELECT batch, 1 FROM quarantine WHERE asset = 'documents'
    UNION ALL
    -- Imported personas that a gate rejected: the others are about a call.
    SELECT q.batch, 1 FROM quarantine AS q
    ANTI JOIN (SELECT * FROM generations WHERE asset = 'text_personas') AS g USING (batch, input_id)
    WHERE q.asset = 'text_personas'
    UNION ALL
    SELECT batch, rows FROM skipped
),
counted AS (SELECT batch, sum(rows) AS accounted FROM used GROUP BY batch)
SELECT b.batch, b.rows, coalesce(c.accounted, 0) AS accounted
FROM batches AS b
LEFT JOIN counted AS c USING (batch)
-- Batches without a partition are ignored.
WHERE b.rows <> coalesce(c.accounted, 0) AND c.accounted IS NOT NULL
