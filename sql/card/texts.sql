-- Which model wrote the items of other datasets whose texts the rows of the release have, such as solutions
WITH calls AS (
    SELECT generation_id, model, prompt, prompt_fingerprint, schema_fingerprint FROM generations
    WHERE status = 'accepted'
)
SELECT
    t.config,
    false AS imported,
    t.dataset,
    c.model,
    c.prompt,
    c.prompt_fingerprint,
    c.schema_fingerprint,
    count(*) AS rows
FROM released_texts AS t
JOIN calls AS c USING (generation_id)
GROUP BY ALL
ORDER BY ALL
