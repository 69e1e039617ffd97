-- Which personas have the most duplicates?
SELECT d.keeper_id, d.stage, count(*) AS absorbed, round(min(d.similarity), 3) AS least_similar, any_value(k.persona) AS persona
FROM duplicates AS d
JOIN candidate_personas AS k ON k.persona_id = d.keeper_id
GROUP BY d.keeper_id, d.stage
ORDER BY absorbed DESC, d.keeper_id
LIMIT 20;
