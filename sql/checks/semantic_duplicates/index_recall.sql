-- Where the index proposed neighbours, at least 99.5 % of a sample's keepers were found; if not, raise exact_up_to
SELECT batch, method, recall, candidates
FROM dedup_runs
WHERE stage = 'semantic' AND method = 'usearch' AND coalesce(recall, 0) < 0.995
ORDER BY recall, batch
