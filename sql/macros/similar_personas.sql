-- The personas of the hub that are most like one: everybody with a vector of the same model is compared
-- similarity: Cosine of the two embeddings
-- persona_id: Id of the persona
-- persona: Who it is
-- batch: Batch that it is in
-- origin: text, relation or imported
-- hop: Relations followed from the root
CREATE MACRO similar_personas(asked_id, k := 10) AS TABLE
WITH asked AS MATERIALIZED (
    SELECT model, embedding FROM persona_embeddings WHERE persona_id = asked_id LIMIT 1
),
near AS MATERIALIZED (
    SELECT e.persona_id, list_cosine_similarity(e.embedding, a.embedding)::DOUBLE AS similarity
    FROM persona_embeddings AS e
    JOIN asked AS a USING (model)
    WHERE e.persona_id <> asked_id AND e.persona_id IN (SELECT persona_id FROM personas)
    ORDER BY similarity DESC, e.persona_id
    LIMIT k
)
SELECT n.similarity, p.persona_id, p.persona, p.batch, p.origin, p.hop
FROM near AS n
JOIN personas AS p USING (persona_id)
ORDER BY n.similarity DESC, p.persona_id;
