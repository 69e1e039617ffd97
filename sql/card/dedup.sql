-- How dedup decided about the batches of the release
SELECT
    stage,
    rule,
    method,
    count(*) AS batches,
    min(recall) AS least_recall,
    sum(candidates)::BIGINT AS candidates,
    sum(candidates - kept)::BIGINT AS dropped
FROM dedup_runs
SEMI JOIN released USING (batch)
GROUP BY ALL
ORDER BY ALL
