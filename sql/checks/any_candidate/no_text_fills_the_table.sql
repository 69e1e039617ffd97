-- No text is in more than generation.max_same_text_share of the answers (and 2): a placeholder, or repeated output
-- severity: warn
WITH answers AS (SELECT persona FROM {asset} WHERE origin <> 'imported')
SELECT persona, count(*) AS personas, round(count(*) / (SELECT count(*) FROM answers), 4) AS share
FROM answers
GROUP BY persona
HAVING count(*) > 2 AND count(*) > {generation.max_same_text_share} * (SELECT count(*) FROM answers)
ORDER BY personas DESC, persona
