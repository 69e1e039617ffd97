-- Every item id is unique, and so is every sample of a persona
SELECT persona_id, sample, count(*) AS times FROM {dataset} GROUP BY ALL HAVING count(*) > 1
