-- No keeper takes more than semantic.max_keeper_share of all candidates (and 100): a runaway threshold or a template
-- severity: warn
SELECT keeper_id, count(*) AS dropped, round(count(*) / (SELECT count(*) FROM semantic_decisions), 4) AS share
FROM semantic_decisions
WHERE keeper_id IS NOT NULL
GROUP BY keeper_id
HAVING count(*) >= 100 AND count(*) > {semantic.max_keeper_share} * (SELECT count(*) FROM semantic_decisions)
ORDER BY dropped DESC, keeper_id
