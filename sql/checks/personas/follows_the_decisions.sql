-- The hub contains what both stages keep; if not, a new rule changed the decisions in another run: run the batch again
-- severity: warn
WITH kept AS (
    SELECT l.batch, l.persona_id FROM decisions AS l
    SEMI JOIN personas AS done ON done.batch = l.batch
    -- A survivor without a decision of the semantic stage is missing as well.
    ANTI JOIN semantic_duplicates AS dropped USING (persona_id)
    WHERE l.stage = 'lexical' AND l.keeper_id IS NULL
)
SELECT
    coalesce(kept.batch, p.batch) AS batch,
    count(*) FILTER (p.batch IS NULL) AS missing,
    count(*) FILTER (kept.batch IS NULL) AS dropped_since,
    'personahub run --batch ' || coalesce(kept.batch, p.batch) AS remedy
FROM kept
FULL JOIN (SELECT batch, persona_id FROM personas) AS p USING (batch, persona_id)
WHERE kept.batch IS NULL OR p.batch IS NULL
GROUP BY 1
ORDER BY 1
