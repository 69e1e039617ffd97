-- Every dropped candidate of both dedup stages with the persona it was dropped for
-- stage: lexical or semantic
-- batch: Batch of the dropped persona
-- persona_id: The dropped persona
-- keeper_id: The persona kept at this stage that it is too similar to, of any batch
-- similarity: Word-set Jaccard of the two at the lexical stage, cosine at the semantic one
-- admission: Dedup run that first decided about it at this stage
SELECT stage, batch, persona_id, keeper_id, similarity, admission
FROM decisions
WHERE keeper_id IS NOT NULL
