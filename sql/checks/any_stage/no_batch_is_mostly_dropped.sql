-- No batch loses more than {stage}.max_drop_share of its candidates (and 100): repeated data or a low threshold
-- severity: warn
SELECT batch, candidates, candidates - kept AS dropped, round(1 - kept / candidates, 4) AS share
FROM dedup_runs
WHERE stage = '{stage}'
    AND candidates - kept >= 100
    AND candidates - kept > {{stage}.max_drop_share} * candidates
ORDER BY share DESC, batch
