-- A batch loses at most semantic.max_drop_share of its items (or 99): else prompt or model repeat themselves
-- severity: warn
SELECT batch, stage, candidates, candidates - kept AS dropped, round(1 - kept / candidates, 4) AS share
FROM item_dedup_runs
WHERE dataset = '{dataset}'
    AND candidates - kept >= 100
    AND candidates - kept > {semantic.max_drop_share} * candidates
ORDER BY share DESC, batch
