-- Ids like one that is not there: those that begin with it, then those of few other characters
-- id: An id, or a batch
-- kind: document, persona, item, generation or batch
-- batch: Batch that it is in
-- distance: Characters to change (Levenshtein)
CREATE MACRO near(asked_id) AS TABLE
WITH pool AS (
    SELECT id, kind, batch FROM ids WHERE id >= asked_id AND id < asked_id || chr(1114111)
    UNION
    -- A character that is wrong, missing or too many leaves the half before it or the half behind it as it was.
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
    -- Distances are reckoned behind a limit: the planner would reckon those of all ids.
    LIMIT 100000
)
SELECT id, kind, batch, levenshtein(id, asked_id) AS distance
FROM pool
WHERE asked_id <> '' AND (starts_with(id, asked_id) OR levenshtein(id, asked_id) <= greatest(1, length(asked_id) // 5))
ORDER BY NOT starts_with(id, asked_id), distance, id, batch
LIMIT 5;
