-- The path from each first row over its parents to its root and document; arguments are names of tables or CTEs
-- firsts: First candidate of each path, with first_id and step before its columns
-- family: Candidates that contain the parents
CREATE MACRO lines(firsts, family) AS TABLE
WITH RECURSIVE line AS (
    SELECT * FROM query_table(firsts)
    UNION ALL
    SELECT line.first_id, line.step + 1, parent.*
    FROM line
    -- The hop decreases at each step, so the recursion ends even if rows are wrong.
    JOIN query_table(family) AS parent
        ON parent.batch = line.batch AND parent.persona_id = line.parent_id AND parent.hop < line.hop
)
SELECT
    first_id, step, 'persona' AS kind, persona_id AS id, persona, origin, relation, hop, batch, document_id, generation_id
FROM line
UNION ALL
SELECT
    first_id, step + 1, 'document', document_id, NULL, NULL, NULL, NULL, batch, document_id, NULL
FROM line
WHERE parent_id IS NULL AND document_id IS NOT NULL;
