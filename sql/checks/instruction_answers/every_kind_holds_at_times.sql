-- Of each kind of constraint some answers satisfy it; if none of 20 does, look at the prompt and at the model
-- severity: warn
WITH
    results AS (
        SELECT batch, unnest(constraints).kind AS kind, unnest(satisfied) AS holds
        FROM instruction_answers
        WHERE len(satisfied) = len(constraints)
    )
SELECT kind, count(*) AS answers
FROM results
GROUP BY kind
HAVING count(*) >= 20 AND NOT bool_or(holds)
