-- State of every candidate: kept, dropped at a stage for a keeper, or not decided yet
-- batch: Batch of the candidate
-- persona_id: The candidate
-- origin: text, relation or imported
-- hop: Relations followed from the root
-- fate: kept, lexical duplicate, semantic duplicate or undecided
-- keeper_id: Persona that it was dropped for
-- similarity: Similarity of the candidate and its keeper
SELECT
    c.batch,
    c.persona_id,
    c.origin,
    c.hop,
    fate_of(p.persona_id IS NOT NULL, coalesce(l.stage, s.stage), true) AS fate,
    coalesce(l.keeper_id, s.keeper_id) AS keeper_id,
    coalesce(l.similarity, s.similarity) AS similarity
FROM candidate_personas AS c
LEFT JOIN personas AS p USING (persona_id)
LEFT JOIN duplicates AS l ON l.persona_id = c.persona_id AND l.stage = 'lexical'
LEFT JOIN duplicates AS s ON s.persona_id = c.persona_id AND s.stage = 'semantic'
