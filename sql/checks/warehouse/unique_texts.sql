-- No two personas of the hub have the same text
SELECT p.batch, p.persona_id, count(*) AS others, min(q.persona_id) AS same_as
FROM changed_persona_texts AS p
JOIN persona_texts AS q ON q.text_hash = p.text_hash AND q.persona_id <> p.persona_id
-- A persona dropped since is removed at the next run of its batch; follows_the_decisions warns of it.
LEFT JOIN decisions AS d ON d.persona_id = p.persona_id AND d.stage = 'lexical' AND d.keeper_id IS NOT NULL
LEFT JOIN decisions AS e ON e.persona_id = q.persona_id AND e.stage = 'lexical' AND e.keeper_id IS NOT NULL
WHERE d.persona_id IS NULL AND e.persona_id IS NULL
GROUP BY p.batch, p.persona_id
ORDER BY p.batch, p.persona_id
