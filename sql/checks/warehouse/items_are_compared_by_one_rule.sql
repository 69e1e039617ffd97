-- All items of a dataset were compared by the same rule; if not, run the batches whose rule differs again
-- severity: warn
WITH counted AS (
    SELECT dataset, stage, rule, count(*) AS batches FROM item_dedup_runs GROUP BY dataset, stage, rule
),
several AS (
    SELECT dataset, stage FROM counted GROUP BY dataset, stage HAVING count(*) > 1
)
SELECT r.dataset, r.stage, r.batch, r.rule, 'personahub run --batch ' || r.batch AS remedy
FROM item_dedup_runs AS r
JOIN several AS s ON s.dataset = r.dataset AND s.stage = r.stage
JOIN counted AS c ON c.dataset = r.dataset AND c.stage = r.stage AND c.rule = r.rule
ORDER BY r.dataset, r.stage, c.batches, r.batch
