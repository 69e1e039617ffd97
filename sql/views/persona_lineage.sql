-- Every candidate with its parents up to its root and the document. For one id use lineage(id)
-- of_persona_id: Persona whose line it is
-- step: 0 for the persona itself, 1 for its parent, and so on; the last step is the document
-- persona_id: Persona of this step, null for the document
-- persona: Its text, null for the document
-- origin: text, relation or imported
-- relation: Relation to the next step; for roots read, write, like or dislike
-- hop: Relations followed from the root
-- document_id: Document at the end of the line, null for imported lines
-- url: Address of that document, if known
-- generation_id: Call that produced it, in generations
-- prompt: Name of the prompt file of that call
-- prompt_fingerprint: Hash of the prompt with its parameters and sampling
-- model: Model that answered
-- kind: persona or document
-- batch: Batch of the line
-- text: The persona, or the document
WITH firsts AS (
    SELECT persona_id AS first_id, 0 AS step, * FROM candidate_personas
)
SELECT
    l.first_id AS of_persona_id,
    l.step,
    CASE WHEN l.kind = 'persona' THEN l.id END AS persona_id,
    l.persona,
    l.origin,
    l.relation,
    l.hop,
    l.document_id,
    d.url,
    l.generation_id,
    g.prompt,
    g.prompt_fingerprint,
    g.model,
    l.kind,
    l.batch,
    CASE WHEN l.kind = 'persona' THEN l.persona ELSE d.text END AS text
FROM lines('firsts', 'candidate_personas') AS l
LEFT JOIN documents AS d ON d.batch = l.batch AND d.document_id = l.document_id
LEFT JOIN ids AS g ON g.id = l.generation_id AND g.kind = 'generation'
