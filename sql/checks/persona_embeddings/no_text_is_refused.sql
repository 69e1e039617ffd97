-- The embedding server refuses no text; refused ones are kept uncompared, and asked again when the batch is run again
-- severity: warn
SELECT
    batch,
    model,
    count(*) AS refused,
    (SELECT count(*) FROM persona_embeddings AS every WHERE every.batch = e.batch) AS personas,
    min(persona_id) AS example,
    'the reason is in the log and the page of the batch (refused_sample); docs/servers.md, Refused texts' AS remedy
FROM persona_embeddings AS e
WHERE unread_hash = 'refused'
GROUP BY batch, model
ORDER BY refused DESC, batch
