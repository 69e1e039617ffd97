-- No keeper takes more than {stage}.max_keeper_share of all candidates (and 100): a runaway threshold or a template
-- severity: warn
SELECT keeper_id, count(*) AS dropped, round(count(*) / (SELECT count(*) FROM {stage}_decisions), 4) AS share
FROM {stage}_decisions
WHERE keeper_id IS NOT NULL
GROUP BY keeper_id
HAVING count(*) >= 100 AND count(*) > {{stage}.max_keeper_share} * (SELECT count(*) FROM {stage}_decisions)
ORDER BY dropped DESC, keeper_id
