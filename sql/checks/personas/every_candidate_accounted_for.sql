-- Every candidate of a finished batch was decided once at the lexical stage, and at most once at the semantic stage
WITH counted AS (
    SELECT persona_id, count(*) FILTER (stage = 'lexical') AS lexical, count(*) FILTER (stage = 'semantic') AS semantic
    FROM decisions
    GROUP BY persona_id
)
SELECT c.batch, c.persona_id, coalesce(d.lexical, 0) AS lexical_decisions, coalesce(d.semantic, 0) AS semantic_decisions
FROM candidate_personas AS c
SEMI JOIN personas AS done ON done.batch = c.batch
LEFT JOIN counted AS d USING (persona_id)
WHERE coalesce(d.lexical, 0) <> 1 OR d.semantic > 1
