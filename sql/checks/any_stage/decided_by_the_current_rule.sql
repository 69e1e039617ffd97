-- All batches were decided by the same rule; if not, run the batches whose rule differs from hub.toml again
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
-- An unknown rule counts as different.
WHERE (SELECT count(DISTINCT coalesce(rule, '')) FROM decided) > 1
ORDER BY batches_with_this_rule, batch
