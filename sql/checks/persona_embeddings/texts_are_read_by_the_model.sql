-- The model reads all but semantic.max_unread of a text; others are kept uncompared: use a multilingual model
-- severity: warn
SELECT
    batch,
    model,
    count(*) AS not_read,
    (SELECT count(*) FROM persona_embeddings AS every WHERE every.batch = e.batch) AS personas,
    'a multilingual model: PERSONAHUB_EMBED_URL, or [embeddings] model in hub.toml (docs/dedup.md)' AS remedy
FROM persona_embeddings AS e
WHERE unread > {semantic.max_unread} AND unread_hash <> 'refused'
GROUP BY batch, model
ORDER BY not_read DESC, batch
