-- How dedup decided about the batches of the release: personas, and items of the datasets in it
WITH runs AS (
    SELECT stage, rule, method, recall, candidates, kept, batch FROM dedup_runs
    UNION ALL
    SELECT dataset || ', ' || stage, rule, method, recall, candidates, kept, batch
    FROM item_dedup_runs
    WHERE dataset IN (SELECT config FROM released) AND rule <> 'not compared'
)
SELECT
    stage,
    rule,
    method,
    count(*) AS batches,
    min(recall) AS least_recall,
    sum(candidates)::BIGINT AS candidates,
    sum(candidates - kept)::BIGINT AS dropped
FROM runs
SEMI JOIN released USING (batch)
GROUP BY ALL
ORDER BY ALL
