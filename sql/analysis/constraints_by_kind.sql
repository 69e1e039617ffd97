-- Which kinds of constraints do answers satisfy least often?
WITH
    results AS (
        SELECT unnest(constraints).kind AS kind, unnest(satisfied) AS holds, all_satisfied
        FROM instruction_answers
        WHERE all_satisfied IS NOT NULL
    )
SELECT
    kind,
    count(*) AS answers,
    round(avg(holds::INTEGER), 3) AS satisfied_share,
    round(avg(all_satisfied::INTEGER), 3) AS all_satisfied_share
FROM results
GROUP BY kind
ORDER BY satisfied_share, kind
