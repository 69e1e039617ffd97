-- Every lexical survivor has a vector; if not, a new rule changed the decisions in another run: run the batch again
-- severity: warn
SELECT d.batch, count(*) AS without_vector, 'personahub run --batch ' || d.batch AS remedy
FROM decisions AS d
SEMI JOIN persona_embeddings AS of_batch ON of_batch.batch = d.batch
ANTI JOIN persona_embeddings AS e ON e.batch = d.batch AND e.persona_id = d.persona_id
WHERE d.stage = 'lexical' AND d.keeper_id IS NULL
GROUP BY d.batch
ORDER BY d.batch
