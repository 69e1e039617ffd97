-- Batches whose rows are in the release
SELECT r.batch, b.source, b.sha256, b.rows AS source_rows, count(*) AS released_rows
FROM released AS r
LEFT JOIN batches AS b USING (batch)
GROUP BY ALL
ORDER BY ALL
