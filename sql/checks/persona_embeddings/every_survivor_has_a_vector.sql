-- Lexical survivors have a vector, and nobody else; another batch may have decided all anew: run the batch again
-- severity: warn
WITH survivors AS (
    SELECT d.batch, d.persona_id FROM lexical_decisions AS d
    SEMI JOIN persona_embeddings AS e ON e.batch = d.batch
    WHERE d.keeper_id IS NULL
)
SELECT
    coalesce(s.batch, e.batch) AS batch,
    count(*) FILTER (e.batch IS NULL) AS without_vector,
    count(*) FILTER (s.batch IS NULL) AS dropped_since,
    'personahub run --batch ' || coalesce(s.batch, e.batch) AS remedy
FROM survivors AS s
FULL JOIN (SELECT batch, persona_id FROM persona_embeddings) AS e USING (batch, persona_id)
WHERE s.batch IS NULL OR e.batch IS NULL
GROUP BY 1
ORDER BY 1
