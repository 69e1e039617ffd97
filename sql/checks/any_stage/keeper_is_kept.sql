-- Every dropped persona has a keeper that is kept; if not, its batch was refreshed: run the dropped one's batch again
-- severity: warn
WITH decided AS (
    FROM decisions WHERE stage = '{stage}'
),
kept AS (
    SELECT persona_id FROM decided
    -- A persona that the lexical stage has dropped since is not in the hub, whatever was decided here.
    SEMI JOIN (SELECT persona_id FROM decisions WHERE stage = 'lexical' AND keeper_id IS NULL) AS survivors USING (persona_id)
    WHERE keeper_id IS NULL
)
SELECT d.batch, d.persona_id, d.keeper_id, 'personahub run --batch ' || d.batch AS remedy
FROM decided AS d
ANTI JOIN kept ON kept.persona_id = d.keeper_id
WHERE d.keeper_id IS NOT NULL
