-- What was found out about the items of the release: answers that agree or fit, and code that passed its tests
WITH own AS (SELECT DISTINCT batch, dataset FROM released),
verdicts AS (
    SELECT 'math_problems' AS dataset, batch, if(verified, 'verified', 'not verified') AS outcome, share
    FROM math_agreement
    WHERE batch IN (SELECT batch FROM own WHERE dataset IN ('math_problems', 'math_solutions'))
    UNION ALL
    SELECT 'reasoning_problems', batch, if(verified, 'verified', 'not verified'), share
    FROM reasoning_agreement
    WHERE batch IN (SELECT batch FROM own WHERE dataset IN ('reasoning_problems', 'reasoning_solutions'))
    UNION ALL
    SELECT 'tool_implementations', batch, status, NULL
    FROM tool_implementations
    WHERE batch IN (SELECT batch FROM own WHERE dataset IN ('tools', 'tool_implementations'))
    UNION ALL
    SELECT 'instruction_answers', batch, if(all_satisfied, 'satisfied', 'not satisfied'), NULL
    FROM instruction_answers
    WHERE all_satisfied IS NOT NULL
    AND batch IN (SELECT batch FROM own WHERE dataset IN ('instructions', 'instruction_answers'))
)
SELECT
    dataset,
    outcome,
    count(*) AS rows,
    sum(count(*)) OVER (PARTITION BY dataset)::BIGINT AS of_rows,
    round(avg(share), 4) AS mean_share
FROM verdicts
GROUP BY dataset, outcome
ORDER BY dataset, rows DESC, outcome
