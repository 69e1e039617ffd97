-- The keeper of a dropped persona is kept; if not, its batch was refreshed: run the batch of the dropped one again
-- severity: warn
WITH decided AS (
    FROM decisions WHERE stage = '{stage}'
),
kept AS (
    SELECT persona_id FROM decided
    -- Ignore personas that the lexical stage has dropped since: they are not in the hub.
    SEMI JOIN (SELECT persona_id FROM decisions WHERE stage = 'lexical' AND keeper_id IS NULL) AS survivors USING (persona_id)
    WHERE keeper_id IS NULL
)
SELECT d.batch, d.persona_id, d.keeper_id, 'personahub run --batch ' || d.batch AS remedy
FROM decided AS d
ANTI JOIN kept ON kept.persona_id = d.keeper_id
WHERE d.keeper_id IS NOT NULL
