-- All batches were decided by the same rule; if not, run the batches whose rule differs from hub.toml again
-- severity: warn
WITH rules AS (
    -- An unknown rule counts as different.
    SELECT d.batch, d.stage, coalesce(r.rule, 'unknown') AS rule
    FROM decided AS d
    LEFT JOIN dedup_runs AS r ON r.batch = d.batch AND r.stage = d.stage
),
counted AS (
    SELECT stage, rule, count(*) AS batches FROM rules GROUP BY stage, rule
)
SELECT
    r.batch,
    r.stage,
    r.rule,
    c.batches AS batches_with_this_rule,
    'personahub run --batch ' || r.batch AS remedy
FROM rules AS r
JOIN counted AS c ON c.stage = r.stage AND c.rule = r.rule
WHERE r.stage IN (SELECT stage FROM counted GROUP BY stage HAVING count(*) > 1)
ORDER BY r.stage, c.batches, r.batch
