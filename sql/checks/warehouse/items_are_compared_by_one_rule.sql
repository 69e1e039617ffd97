-- All items of a dataset were compared by the same rule; if not, run the batches whose rule differs again
-- severity: warn
SELECT dataset, stage, batch, rule, 'personahub run --batch ' || batch AS remedy
FROM item_dedup_runs
QUALIFY count(DISTINCT rule) OVER (PARTITION BY dataset, stage) > 1
ORDER BY dataset, stage, count(*) OVER (PARTITION BY dataset, stage, rule), batch
