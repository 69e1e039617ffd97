-- Dropped items of all datasets with the item they were dropped for; tools_duplicates has those of tools
-- dataset: Dataset of the items
-- stage: lexical or semantic
-- batch: Batch of the dropped item
-- item_id: The dropped item
-- keeper_id: The similar item that is kept, of any batch
-- similarity: Similarity of the two: word-set Jaccard at the lexical stage, cosine at the semantic stage
-- admission: Run that first decided about the item at this stage
SELECT dataset, stage, batch, item_id, keeper_id, similarity, admission
FROM item_decisions
WHERE keeper_id IS NOT NULL
