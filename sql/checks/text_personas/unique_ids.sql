-- Every persona id is unique
SELECT persona_id, count(*) AS times FROM candidate_personas GROUP BY ALL HAVING count(*) > 1
