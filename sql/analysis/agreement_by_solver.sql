-- How often does each solver give the agreed answer to math problems, and at what cost?
SELECT
    s.variant,
    g.model,
    s.style,
    count(*) AS solutions,
    count(s.final_answer) AS answered,
    count(*) FILTER (a.verified AND list_contains(a."groups"[1].samples, s.sample)) AS agreed,
    round(100.0 * agreed / nullif(count(*) FILTER (a.verified), 0), 1) AS agreed_percent,
    sum(g.cost) AS cost
FROM math_solutions AS s
LEFT JOIN math_agreement AS a ON a.batch = s.batch AND a.source_id = s.source_id
LEFT JOIN generations AS g ON g.generation_id = s.generation_id AND g.asset = 'math_solutions'
GROUP BY ALL
ORDER BY s.variant, g.model
