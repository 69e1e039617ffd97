-- Items that are in no release and not in the view _unique of their dataset, with the reason
-- dataset: Dataset of the item
-- batch: Batch of the item
-- item_id: The item
-- reason: contaminated: it matches a test set; near_duplicate: it nearly repeats another item
SELECT DISTINCT dataset, batch, item_id, 'contaminated' AS reason FROM contaminated
UNION ALL
SELECT dataset, batch, item_id, 'near_duplicate' AS reason FROM item_duplicates
