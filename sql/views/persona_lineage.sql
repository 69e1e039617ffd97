-- Any candidate with its parents up to its root: step 0 is the persona itself
WITH RECURSIVE line AS (
    SELECT persona_id AS of_persona_id, 0 AS step, c.* FROM candidate_personas AS c
    UNION ALL
    SELECT line.of_persona_id, line.step + 1, parent.*
    FROM line
    JOIN candidate_personas AS parent ON parent.persona_id = line.parent_id
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
    generation.model
FROM line
LEFT JOIN documents AS document ON document.batch = line.batch AND document.document_id = line.document_id
LEFT JOIN generations AS generation ON generation.generation_id = line.generation_id
