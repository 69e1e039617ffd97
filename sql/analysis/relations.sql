-- Which relations lead to personas, and how many of them survive?
SELECT c.origin, lower(c.relation) AS relation, count(*) AS candidates, count(p.persona_id) AS kept
FROM candidate_personas AS c
LEFT JOIN personas AS p USING (persona_id)
WHERE c.relation IS NOT NULL
GROUP BY ALL
ORDER BY candidates DESC, relation
LIMIT 25;
