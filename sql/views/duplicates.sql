-- Every dropped candidate of both dedup stages with the persona it was dropped for
-- stage: lexical or semantic
-- batch: Batch of the dropped persona
-- persona_id: The dropped persona
-- keeper_id: The similar persona that this stage kept, of any batch
-- similarity: Similarity of the two: word-set Jaccard at the lexical stage, cosine at the semantic stage
-- admission: Dedup run that first decided about it at this stage
SELECT stage, batch, persona_id, keeper_id, similarity, admission
FROM decisions
WHERE keeper_id IS NOT NULL
