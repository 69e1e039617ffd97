-- State of every candidate: kept, dropped at a stage for a keeper, or not decided yet
-- batch: Batch of the candidate
-- persona_id: The candidate
-- origin: text, relation or imported
-- hop: Relations followed from the root
-- fate: kept, lexical duplicate, semantic duplicate or undecided
-- keeper_id: Persona that it was dropped for
-- similarity: Of the two
SELECT
    c.batch,
    c.persona_id,
    c.origin,
    c.hop,
    CASE
        WHEN p.persona_id IS NOT NULL THEN 'kept'
        WHEN l.persona_id IS NOT NULL THEN 'lexical duplicate'
        WHEN s.persona_id IS NOT NULL THEN 'semantic duplicate'
        ELSE 'undecided'
    END AS fate,
    coalesce(l.keeper_id, s.keeper_id) AS keeper_id,
    coalesce(l.similarity, s.similarity) AS similarity
FROM candidate_personas AS c
LEFT JOIN personas AS p USING (persona_id)
LEFT JOIN lexical_duplicates AS l USING (persona_id)
LEFT JOIN semantic_duplicates AS s USING (persona_id)
