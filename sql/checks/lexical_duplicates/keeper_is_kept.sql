-- Every dropped persona has a keeper that is kept at this stage; if not, materialise the dropped one's batch again
-- severity: warn
SELECT d.batch, d.persona_id, d.keeper_id
FROM lexical_duplicates AS d
ANTI JOIN (SELECT persona_id FROM lexical_decisions WHERE keeper_id IS NULL) AS k ON k.persona_id = d.keeper_id
