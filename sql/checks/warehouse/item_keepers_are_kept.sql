-- The keeper of a dropped item is kept, with the same text; if not, run the batch of the dropped one again
-- severity: warn
SELECT d.batch, d.dataset, d.stage, d.item_id, d.keeper_id, 'personahub run --batch ' || d.batch AS remedy
FROM changed_item_decisions AS d
LEFT JOIN item_decisions AS k
    ON k.item_id = d.keeper_id
    AND k.dataset = d.dataset
    AND k.stage = d.stage
    AND k.keeper_id IS NULL
    -- A keeper whose text changed was admitted again, after the items that were dropped for it.
    AND k.admission <= d.admission
WHERE d.keeper_id IS NOT NULL AND k.item_id IS NULL
ORDER BY d.batch, d.dataset, d.stage, d.item_id
