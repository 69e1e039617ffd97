-- Which sources have the most personas in the hub, and how many per document?
WITH texts AS (
    SELECT batch, count(*) AS documents FROM documents GROUP BY batch
),
kept AS (
    SELECT batch, count(*) AS personas, count(DISTINCT document_id) AS documents_used FROM personas GROUP BY batch
)
SELECT
    b.source,
    sum(b.rows) AS source_rows,
    coalesce(sum(t.documents), 0) AS documents,
    coalesce(sum(k.documents_used), 0) AS documents_used,
    coalesce(sum(k.personas), 0) AS personas,
    round(sum(k.personas) FILTER (t.documents > 0) / sum(t.documents), 2) AS personas_per_document
FROM batches AS b
LEFT JOIN texts AS t USING (batch)
LEFT JOIN kept AS k USING (batch)
GROUP BY b.source
ORDER BY personas DESC, b.source
LIMIT 50;
