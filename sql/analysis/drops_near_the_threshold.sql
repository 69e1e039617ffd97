-- Which personas were dropped by the narrowest margin, and for which keepers?
SELECT
    d.stage,
    round(d.similarity, 4) AS similarity,
    dropped.persona AS dropped,
    keeper.persona AS keeper,
    d.persona_id
FROM duplicates AS d
JOIN candidate_personas AS dropped ON dropped.persona_id = d.persona_id
JOIN candidate_personas AS keeper ON keeper.persona_id = d.keeper_id
QUALIFY row_number() OVER (PARTITION BY d.stage ORDER BY d.similarity, d.persona_id) <= 20
ORDER BY d.stage, d.similarity, d.persona_id;
