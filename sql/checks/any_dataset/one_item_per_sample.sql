-- An item id occurs once, and so does a persona's sample
SELECT persona_id, sample, count(*) AS times FROM {dataset} GROUP BY ALL HAVING count(*) > 1
