-- The keeper of a dropped item is kept, with the same text; if not, run the batch of the dropped one again
-- severity: warn
SELECT d.batch, d.dataset, d.stage, d.item_id, d.keeper_id, 'personahub run --batch ' || d.batch AS remedy
FROM item_duplicates AS d
-- A keeper whose text changed was admitted again, after the items that were dropped for it.
ANTI JOIN (FROM item_decisions WHERE keeper_id IS NULL) AS k
    ON k.dataset = d.dataset AND k.stage = d.stage AND k.item_id = d.keeper_id AND k.admission <= d.admission
