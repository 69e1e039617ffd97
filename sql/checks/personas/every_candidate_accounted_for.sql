-- Every candidate of a finished batch is kept or dropped for a keeper, exactly once
WITH fates AS (
    SELECT persona_id FROM personas
    UNION ALL
    SELECT persona_id FROM lexical_duplicates
    UNION ALL
    SELECT persona_id FROM semantic_duplicates
),
counted AS (SELECT persona_id, count(*) AS fates FROM fates GROUP BY persona_id)
SELECT c.batch, c.persona_id, coalesce(f.fates, 0) AS fates
FROM candidate_personas AS c
SEMI JOIN personas AS done ON done.batch = c.batch
LEFT JOIN counted AS f USING (persona_id)
WHERE coalesce(f.fates, 0) <> 1
