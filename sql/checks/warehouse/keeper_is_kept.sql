-- The keeper of a dropped persona is kept; if not, its batch was refreshed: run the batch of the dropped one again
-- severity: warn
SELECT d.batch, d.stage, d.persona_id, d.keeper_id, 'personahub run --batch ' || d.batch AS remedy
FROM changed_decisions AS d
LEFT JOIN decisions AS k ON k.persona_id = d.keeper_id AND k.stage = d.stage AND k.keeper_id IS NULL
-- A keeper that the lexical stage has dropped since is not in the hub.
LEFT JOIN decisions AS l ON l.persona_id = d.keeper_id AND l.stage = 'lexical' AND l.keeper_id IS NULL
WHERE d.keeper_id IS NOT NULL AND (k.persona_id IS NULL OR l.persona_id IS NULL)
ORDER BY d.batch, d.stage, d.persona_id
