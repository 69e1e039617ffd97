-- No persona has two vectors, and every vector has length 1
SELECT persona_id, count(*) AS vectors, max(sqrt(list_dot_product(embedding, embedding))) AS longest
FROM persona_embeddings
GROUP BY persona_id
HAVING count(*) <> 1 OR bool_or(abs(list_dot_product(embedding, embedding) - 1) > 1e-3)
