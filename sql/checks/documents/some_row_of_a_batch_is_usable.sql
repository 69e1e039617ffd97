-- No batch has all rows in quarantine: check column name, encoding and delimiter
WITH faults AS (
    SELECT batch, count(*) AS quarantined, mode(reason) AS mostly
    FROM quarantine
    WHERE asset = 'documents' AND reason <> 'taken_down'
    GROUP BY batch
),
others AS (SELECT batch, sum(rows) AS skipped FROM skipped GROUP BY batch)
SELECT batch, quarantined, mostly
FROM batches
JOIN faults USING (batch)
LEFT JOIN others USING (batch)
WHERE quarantined + coalesce(skipped, 0) >= rows
ORDER BY batch
