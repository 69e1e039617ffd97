-- All batches were decided by one rule; if not, run those again whose rule is not that of today's hub.toml
-- severity: warn
WITH decided AS (
    SELECT d.batch, r.rule
    FROM (SELECT DISTINCT batch FROM decisions WHERE stage = '{stage}') AS d
    LEFT JOIN (SELECT batch, rule FROM dedup_runs WHERE stage = '{stage}') AS r USING (batch)
)
SELECT
    batch,
    rule,
    count(*) OVER (PARTITION BY rule) AS batches_with_this_rule,
    'personahub run --batch ' || batch AS remedy
FROM decided
-- One that is not known is another one.
WHERE (SELECT count(DISTINCT coalesce(rule, '')) FROM decided) > 1
ORDER BY batches_with_this_rule, batch
