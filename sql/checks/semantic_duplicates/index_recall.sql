-- If not all pairs were compared, the cells found at least 99.5 % of the keepers in a sample; if not, raise exact_up_to
SELECT batch, method, recall, candidates
FROM dedup_runs
WHERE stage = 'semantic' AND method IN ('cells', 'usearch') AND coalesce(recall, 0) < 0.995
ORDER BY recall, batch
