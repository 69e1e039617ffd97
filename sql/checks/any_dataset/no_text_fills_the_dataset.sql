-- No text is in more than generation.max_same_text_share of the items (and 2): a placeholder, or repeated output
-- severity: warn
SELECT text, count(*) AS items, round(count(*) / (SELECT count(*) FROM {dataset}), 4) AS share
FROM {dataset}
GROUP BY text
HAVING count(*) > 2 AND count(*) > {generation.max_same_text_share} * (SELECT count(*) FROM {dataset})
ORDER BY items DESC, text
