-- No table holds rows of a batch that is not registered
WITH used AS (
    SELECT DISTINCT batch FROM documents
    UNION
    SELECT DISTINCT batch FROM candidate_personas
    UNION
    SELECT DISTINCT batch FROM written_items
)
SELECT batch FROM used ANTI JOIN batches USING (batch)
