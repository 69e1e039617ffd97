-- Requests in the batches of the release, and quarantined ones by reason; reason is null without any
WITH own AS (SELECT DISTINCT batch FROM released),
asked AS (
    SELECT 'documents' AS asset, sum(rows)::BIGINT AS asked FROM batches SEMI JOIN own USING (batch)
    UNION ALL
    SELECT asset, count(*) FROM generations SEMI JOIN own USING (batch) WHERE status <> 'superseded' GROUP BY asset
),
faults AS (SELECT asset, reason, count(*) AS quarantined FROM quarantine SEMI JOIN own USING (batch) GROUP BY ALL)
SELECT a.asset, a.asked, f.reason, coalesce(f.quarantined, 0) AS quarantined
FROM asked AS a
LEFT JOIN faults AS f USING (asset)
WHERE
    a.asked > 0
    AND (
        a.asset IN ('documents', 'text_personas', 'related_personas')
        OR a.asset IN (SELECT config FROM released)
    )
ORDER BY ALL
