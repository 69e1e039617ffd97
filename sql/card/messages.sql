-- Which models and prompts wrote the messages of the released dialogues; `writers` has only the calls of the last ones
WITH calls AS (
    SELECT generation_id, role, model, prompt, prompt_fingerprint, schema_fingerprint FROM generations
    WHERE status = 'accepted'
),
messages AS (
    SELECT r.config, r.generation_id AS last_call, unnest(d.calls) AS generation_id
    FROM released AS r
    JOIN dialogues AS d ON d.batch = r.batch AND d.generation_id = r.generation_id
    WHERE r.dataset = 'dialogues'
)
SELECT
    m.config,
    c.role,
    c.model,
    c.prompt,
    c.prompt_fingerprint,
    c.schema_fingerprint,
    count(DISTINCT m.last_call) AS rows
FROM messages AS m
JOIN calls AS c USING (generation_id)
GROUP BY ALL
ORDER BY ALL
