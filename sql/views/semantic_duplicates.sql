-- Candidates dropped at the semantic stage, each with the persona it was dropped for
-- batch: Batch of the dropped persona
-- persona_id: The dropped persona
-- keeper_id: The similar persona that this stage kept, of any batch
-- similarity: Embedding cosine of the two
-- admission: Dedup run that first decided about it at this stage
SELECT * EXCLUDE (stage) FROM duplicates WHERE stage = 'semantic'
