-- No keeper absorbs more than max_keeper_share of all candidates of its stage (and 100): a low threshold or a template
-- severity: warn
WITH totals AS (
    SELECT stage, sum(candidates) AS candidates FROM decided GROUP BY stage
)
SELECT a.stage, a.keeper_id, a.dropped, round(1.0 * a.dropped / t.candidates, 4) AS share
FROM absorbed AS a
JOIN totals AS t ON t.stage = a.stage
WHERE a.dropped >= 100
    AND a.dropped > t.candidates * CASE a.stage
        WHEN 'lexical' THEN {lexical.max_keeper_share}
        ELSE {semantic.max_keeper_share}
    END
ORDER BY a.dropped DESC, a.keeper_id
