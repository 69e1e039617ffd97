-- No two personas of the hub have the same text
SELECT
    p.batch,
    p.persona_id,
    count(*) AS times,
    max(CASE WHEN q.persona_id <> p.persona_id THEN q.persona_id END) AS same_as
FROM changed_persona_texts AS p
JOIN persona_texts AS q ON q.text_hash = p.text_hash
-- A persona dropped since is removed at the next run of its batch; follows_the_decisions warns of it.
LEFT JOIN decisions AS d ON d.persona_id = p.persona_id AND d.stage = 'lexical' AND d.keeper_id IS NOT NULL
LEFT JOIN decisions AS e ON e.persona_id = q.persona_id AND e.stage = 'lexical' AND e.keeper_id IS NOT NULL
WHERE d.persona_id IS NULL AND e.persona_id IS NULL
GROUP BY p.batch, p.persona_id
HAVING count(*) > 1
ORDER BY p.batch, p.persona_id
