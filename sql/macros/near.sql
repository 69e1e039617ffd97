-- Ids similar to an unknown one: first those that begin with it, then those at a small edit distance
-- id: An id, or a batch
-- kind: document, persona, item, generation or batch
-- batch: Batch of the id
-- distance: Edit distance (Levenshtein)
CREATE MACRO near(asked_id) AS TABLE
WITH pool AS (
    SELECT id, kind, batch FROM ids WHERE id >= asked_id AND id < asked_id || chr(1114111)
    UNION
    -- One wrong, missing or additional character changes only one half of an id.
    SELECT id, kind, batch
    FROM ids
    WHERE id >= left(asked_id, length(asked_id) // 2) AND id < left(asked_id, length(asked_id) // 2) || chr(1114111)
    AND length(asked_id) > 3
    UNION
    SELECT id, kind, batch
    FROM ids
    WHERE suffix(id, right(asked_id, (length(asked_id) + 1) // 2)) AND length(asked_id) > 3
    UNION
    SELECT batch, 'batch', batch FROM batches
    -- The limit keeps the planner from computing the distances of all ids.
    LIMIT 100000
)
SELECT id, kind, batch, levenshtein(id, asked_id) AS distance
FROM pool
WHERE asked_id <> '' AND (starts_with(id, asked_id) OR levenshtein(id, asked_id) <= greatest(1, length(asked_id) // 5))
ORDER BY NOT starts_with(id, asked_id), distance, id, batch
LIMIT 5;
