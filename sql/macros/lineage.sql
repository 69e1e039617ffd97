-- Origin of a persona, an item or the rows of a call: the row itself at step 0, then its parents, then the document
-- of_id: Item or persona that the line belongs to; a call has one line for each of its rows
-- step: 0 for the row itself, 1 for the item or persona it was made from, and so on
-- kind: item, persona or document
-- id: Id of this step
-- text: The item, the persona or the document
-- origin: For personas: text, relation or imported
-- relation: For personas: relation to the next step
-- hop: For personas: relations followed from the root
-- batch: Batch of the line
-- asset: Asset that made it
-- document_id: Document at the end of the line, null for imported lines
-- url: Address of that document, if known
-- source: Origin of the document according to the source file
-- generation_id: Call that made it, in generations
-- prompt: Name of the prompt file of that call
-- prompt_fingerprint: Hash of the prompt with its parameters and sampling
-- model: Model that answered
CREATE MACRO lineage(asked_id) AS TABLE
WITH RECURSIVE asked AS MATERIALIZED (
    SELECT kind, batch, asset FROM ids WHERE id = asked_id AND kind <> 'document'
),
asked_items AS MATERIALIZED (
    SELECT * FROM written_items WHERE item_id IN (SELECT asked_id FROM asked WHERE kind = 'item')
    UNION ALL
    SELECT * FROM written_items WHERE generation_id IN (SELECT asked_id FROM asked WHERE kind = 'generation')
),
items AS MATERIALIZED (
    SELECT item_id AS first_id, 0 AS step, * FROM asked_items
    UNION ALL
    -- The item that it was made from, such as the problem of a solution.
    SELECT items.first_id, items.step + 1, source.*
    FROM items
    JOIN written_items AS source ON source.batch = items.batch AND source.item_id = items.source_id
    WHERE items.step < 20
),
roots AS MATERIALIZED (
    SELECT batch, root_id
    FROM candidate_personas
    WHERE persona_id IN (SELECT persona_id FROM items UNION ALL SELECT asked_id FROM asked WHERE kind = 'persona')
    UNION
    SELECT batch, root_id
    FROM candidate_personas
    WHERE generation_id IN (SELECT asked_id FROM asked WHERE kind = 'generation')
),
-- All personas of a line have the same root, so one scan of the personas finds them all.
family AS MATERIALIZED (
    SELECT * FROM candidate_personas WHERE (batch, root_id) IN (SELECT batch, root_id FROM roots)
),
firsts AS (
    SELECT i.first_id, i.step + 1 AS step, f.*
    FROM (SELECT first_id, max(step) AS step, any_value(batch) AS batch, any_value(persona_id) AS persona_id FROM items GROUP BY first_id) AS i
    JOIN family AS f USING (batch, persona_id)
    UNION ALL
    SELECT f.persona_id, 0, f.* FROM family AS f WHERE f.persona_id = asked_id OR f.generation_id = asked_id
),
steps AS MATERIALIZED (
    SELECT
        first_id, step, 'item' AS kind, item_id AS id, text, NULL::VARCHAR AS origin,
        NULL::VARCHAR AS relation, NULL::TINYINT AS hop, batch, NULL::VARCHAR AS document_id, generation_id, dataset AS asset
    FROM items
    UNION ALL
    SELECT
        *,
        CASE WHEN kind = 'document' THEN 'documents' WHEN hop = 0 THEN 'text_personas' ELSE 'related_personas' END
    FROM lines('firsts', 'family')
),
documents_of AS MATERIALIZED (
    SELECT * FROM documents WHERE (batch, document_id) IN (SELECT batch, document_id FROM steps LIMIT 5000)
),
calls AS MATERIALIZED (
    SELECT id AS generation_id, prompt, prompt_fingerprint, model
    FROM ids
    WHERE kind = 'generation' AND id IN (SELECT generation_id FROM steps LIMIT 5000)
)
SELECT
    s.first_id AS of_id, s.step, s.kind, s.id, CASE WHEN s.kind = 'document' THEN d.text ELSE s.text END AS text, s.origin, s.relation, s.hop, s.batch, s.asset,
    s.document_id, d.url, d.source, s.generation_id, g.prompt, g.prompt_fingerprint, g.model
FROM steps AS s
LEFT JOIN documents_of AS d USING (batch, document_id)
LEFT JOIN calls AS g USING (generation_id)
ORDER BY s.first_id, s.step;
