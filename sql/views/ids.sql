-- Kind and batch of every id: documents, personas, dataset items and calls
-- id: Id of a document, persona, item or call
-- kind: document, persona, item or generation
-- batch: Batch of the id; a document's id can be in several
-- asset: Asset that made it
-- status: For calls: accepted, rejected or superseded
-- prompt: For calls: name of the prompt file
-- prompt_fingerprint: For calls: hash of the prompt with its parameters and sampling
-- model: For calls: model that answered
WITH made AS (
    SELECT document_id AS id, 'document' AS kind, batch, 'documents' AS asset FROM documents
    UNION ALL
    SELECT persona_id, 'persona', batch, 'text_personas' FROM text_personas
    UNION ALL
    SELECT persona_id, 'persona', batch, 'related_personas' FROM related_personas
    UNION ALL
    SELECT item_id, 'item', batch, dataset FROM written_items
)
SELECT *, NULL::VARCHAR AS status, NULL::VARCHAR AS prompt, NULL::VARCHAR AS prompt_fingerprint, NULL::VARCHAR AS model
FROM made
UNION ALL
SELECT generation_id, 'generation', batch, asset, status, prompt, prompt_fingerprint, model FROM generations
