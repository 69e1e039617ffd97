-- No batch loses more than semantic.max_drop_share of a dataset's items (and 100): prompt or model repeat themselves
-- severity: warn
SELECT batch, dataset, stage, candidates, candidates - kept AS dropped, round(1 - kept / candidates, 4) AS share
FROM item_dedup_runs
WHERE candidates - kept >= 100 AND candidates - kept > {semantic.max_drop_share} * candidates
ORDER BY share DESC, batch, dataset
