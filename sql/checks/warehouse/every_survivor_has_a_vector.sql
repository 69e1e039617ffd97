-- Every lexical survivor has a vector; if not, a new rule changed the decisions in another run: run the batch again
-- severity: warn
SELECT d.batch, count(*) AS without_vector, 'personahub run --batch ' || d.batch AS remedy
FROM changed_decisions AS d
LEFT JOIN changed_vectors AS v ON v.batch = d.batch AND v.persona_id = d.persona_id
WHERE d.stage = 'lexical'
    AND d.keeper_id IS NULL
    AND v.persona_id IS NULL
    AND d.batch IN (SELECT batch FROM changed_vectors)
GROUP BY d.batch
ORDER BY d.batch
