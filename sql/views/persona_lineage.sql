-- Any candidate with its parents up to its root and the document: step 0 is the persona itself. For one id ask lineage(id)
-- of_persona_id: Persona whose line it is
-- step: 0 for the persona itself, 1 for its parent, at last one for the document
-- persona_id: Persona of this step, null for the document
-- persona: Its text, null for the document
-- origin: text, relation or imported
-- relation: What it is to the next step: a relation for personas, read, write, like or dislike for roots
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
WITH RECURSIVE line AS (
    SELECT persona_id AS of_persona_id, 0 AS step, c.* FROM candidate_personas AS c
    UNION ALL
    SELECT line.of_persona_id, line.step + 1, parent.*
    FROM line
    -- Hops fall, so that a walk ends whatever the rows say.
    JOIN candidate_personas AS parent ON parent.persona_id = line.parent_id AND parent.hop < line.hop
)
SELECT
    line.of_persona_id,
    line.step,
    line.persona_id,
    line.persona,
    line.origin,
    line.relation,
    line.hop,
    line.document_id,
    document.url,
    line.generation_id,
    generation.prompt,
    generation.prompt_fingerprint,
    generation.model,
    'persona' AS kind,
    line.batch,
    line.persona AS text
FROM line
LEFT JOIN documents AS document ON document.batch = line.batch AND document.document_id = line.document_id
LEFT JOIN ids AS generation ON generation.id = line.generation_id AND generation.kind = 'generation'
UNION ALL BY NAME
SELECT
    line.of_persona_id,
    line.step + 1 AS step,
    line.document_id,
    document.url,
    'document' AS kind,
    line.batch,
    document.text
FROM line
LEFT JOIN documents AS document ON document.batch = line.batch AND document.document_id = line.document_id
WHERE line.parent_id IS NULL AND line.document_id IS NOT NULL
