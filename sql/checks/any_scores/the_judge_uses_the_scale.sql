-- A batch with 20 scores or more has several of them; if the judge gives one score to all, look at the rubric
-- severity: warn
SELECT batch, count(*) AS scores, min(score) AS score
FROM {dataset}
GROUP BY batch
HAVING count(*) >= 20 AND min(score) = max(score)
ORDER BY batch
