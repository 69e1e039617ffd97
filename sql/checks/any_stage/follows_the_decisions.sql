-- The rows are what is decided now; another batch may have decided all anew by a new rule: run the batch again
-- severity: warn
WITH decided AS (
    SELECT batch, persona_id, keeper_id, similarity FROM {stage}_decisions WHERE keeper_id IS NOT NULL
)
SELECT
    coalesce(decided.batch, shown.batch) AS batch,
    count(*) AS differing,
    'personahub run --batch ' || coalesce(decided.batch, shown.batch) AS remedy
FROM decided
FULL JOIN {stage}_duplicates AS shown USING (batch, persona_id, keeper_id, similarity)
WHERE decided.batch IS NULL OR shown.batch IS NULL
GROUP BY 1
ORDER BY 1
