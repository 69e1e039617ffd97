-- All candidates, before dedup: personas from text, imported ones and related ones
-- batch: Batch key
-- persona_id: Hash of batch, parent or document, relation and text
-- persona: One or two sentences describing a kind of person
-- origin: text (inferred from a document), relation (from another persona) or imported
-- document_id: Document at the root of its line, null for imported personas
-- relation: read, write, like or dislike for text; relation to the parent for relation
-- granularity: coarse or fine, for origin text
-- hop: Relations followed from the root persona, 0 for roots
-- parent_id: Persona that it is related to, null for roots
-- root_id: First persona of its line, itself for roots
-- generation_id: Call that produced it, in generations; null for imported
-- attributes: For imported personas: the other columns of the source file as a JSON object
SELECT * FROM text_personas
UNION ALL
SELECT * FROM related_personas
