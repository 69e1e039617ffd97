-- Solvers agree on the answers to at least half of the problems of a batch, if it has 20; if not, look at the solutions
-- severity: warn
SELECT batch, count(*) AS problems, count(*) FILTER (verified) AS verified, round(avg(answered / solutions), 4) AS answered
FROM {asset}
GROUP BY batch
HAVING count(*) >= 20 AND count(*) FILTER (verified) < 0.5 * count(*)
ORDER BY batch
