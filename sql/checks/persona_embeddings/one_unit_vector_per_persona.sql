-- No persona has two vectors, and every vector has length 1
WITH vectors AS (
    SELECT persona_id, list_concat(embedding, []) AS embedding, embedding IS NULL AS is_refused
    FROM persona_embeddings
)
SELECT persona_id, count(*) AS vectors, max(sqrt(list_dot_product(embedding, embedding))) AS longest
FROM vectors
GROUP BY persona_id
HAVING count(*) <> 1 OR bool_or(NOT is_refused AND abs(list_dot_product(embedding, embedding) - 1) > 1e-3)
