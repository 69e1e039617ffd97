-- No keeper absorbs more than {stage}.max_keeper_share of all candidates (and 100): a low threshold or a template
-- severity: warn
WITH decided AS (
    FROM decisions WHERE stage = '{stage}'
)
SELECT keeper_id, count(*) AS dropped, round(count(*) / (SELECT count(*) FROM decided), 4) AS share
FROM decided
WHERE keeper_id IS NOT NULL
GROUP BY keeper_id
HAVING count(*) >= 100 AND count(*) > {{stage}.max_keeper_share} * (SELECT count(*) FROM decided)
ORDER BY dropped DESC, keeper_id
