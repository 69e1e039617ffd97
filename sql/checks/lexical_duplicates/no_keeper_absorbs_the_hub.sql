-- No keeper absorbs 5 % of all candidates (and 100 at least): a runaway threshold or a template shows here
-- severity: warn
SELECT keeper_id, count(*) AS dropped
FROM lexical_duplicates
GROUP BY keeper_id
HAVING count(*) >= greatest(100, 0.05 * (SELECT count(*) FROM lexical_decisions))
