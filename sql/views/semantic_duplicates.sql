-- Candidates dropped at the semantic stage, each with the persona it was dropped for
-- batch: Batch of the dropped persona
-- persona_id: The dropped persona
-- keeper_id: The persona kept at this stage that it is too similar to, of any batch
-- similarity: Embedding cosine of the two
-- admission: Dedup run that first decided about it at this stage
SELECT * EXCLUDE (stage) FROM duplicates WHERE stage = 'semantic'
