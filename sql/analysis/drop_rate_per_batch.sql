-- Which share of each batch does each dedup stage drop, and by which method?
SELECT
    batch,
    stage,
    candidates,
    candidates - kept AS dropped,
    round(100.0 * (candidates - kept) / nullif(candidates, 0), 2) AS percent_dropped,
    method,
    recall,
    rule
FROM dedup_runs
ORDER BY stage, percent_dropped DESC, batch;
