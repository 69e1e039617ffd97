-- The personas of the hub most similar to one, among all that the same model has embedded
-- similarity: Cosine of the two embeddings
-- persona_id: Id of the persona
-- persona: Text of the persona
-- batch: Batch of the persona
-- origin: text, relation or imported
-- hop: Relations followed from the root
CREATE MACRO similar_personas(asked_id, k := 10) AS TABLE
WITH asked AS MATERIALIZED (
    SELECT model, list_concat(embedding, []) AS embedding, coalesce(unread_hash, '') AS unread_hash
    FROM persona_embeddings
    -- Default of semantic.max_unread
    WHERE persona_id = asked_id AND coalesce(unread, 0) <= 0.4 AND embedding IS NOT NULL
    LIMIT 1
),
near AS MATERIALIZED (
    -- list_concat: after reading a NULL of a Parquet file, DuckDB takes all lists for lists with NULL values
    SELECT e.persona_id, list_cosine_similarity(list_concat(e.embedding, []), a.embedding)::DOUBLE AS similarity
    FROM persona_embeddings AS e
    JOIN asked AS a USING (model)
    WHERE e.persona_id <> asked_id
    AND coalesce(e.unread, 0) <= 0.4
    AND e.embedding IS NOT NULL
    AND (a.unread_hash = '' OR coalesce(e.unread_hash, '') IN ('', a.unread_hash))
    AND e.persona_id IN (SELECT persona_id FROM personas)
    ORDER BY similarity DESC, e.persona_id
    LIMIT k
)
SELECT n.similarity, p.persona_id, p.persona, p.batch, p.origin, p.hop
FROM near AS n
JOIN personas AS p USING (persona_id)
ORDER BY n.similarity DESC, p.persona_id;
