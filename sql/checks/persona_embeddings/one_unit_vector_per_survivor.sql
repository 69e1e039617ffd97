-- Every lexical survivor of an embedded batch has one vector, of length 1
WITH survivors AS (
    SELECT d.batch, d.persona_id FROM lexical_decisions AS d
    SEMI JOIN persona_embeddings AS e ON e.batch = d.batch
    WHERE d.keeper_id IS NULL
)
SELECT coalesce(s.persona_id, e.persona_id) AS persona_id, count(e.embedding) AS vectors
FROM survivors AS s
FULL JOIN persona_embeddings AS e USING (persona_id)
GROUP BY 1
HAVING count(e.embedding) <> 1
    OR count(s.persona_id) <> 1
    OR abs(max(list_dot_product(e.embedding, e.embedding)) - 1) > 1e-3
