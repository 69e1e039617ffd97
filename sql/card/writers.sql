-- Which model wrote the rows of the release, by which prompt; imported personas have no generation
WITH calls AS (
    SELECT generation_id, model, prompt, prompt_fingerprint, schema_fingerprint FROM generations
    WHERE status = 'accepted'
)
SELECT
    r.config,
    r.generation_id IS NULL AS imported,
    c.model,
    c.prompt,
    c.prompt_fingerprint,
    c.schema_fingerprint,
    count(*) AS rows
FROM released AS r
LEFT JOIN calls AS c USING (generation_id)
GROUP BY ALL
ORDER BY ALL
