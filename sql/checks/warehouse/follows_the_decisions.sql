-- The hub contains what both stages keep; if not, a new rule changed the decisions in another run: run the batch again
-- severity: warn
WITH hub AS (
    SELECT
        p.batch,
        count(*) AS personas,
        count(CASE WHEN l.persona_id IS NOT NULL AND s.persona_id IS NULL THEN 1 END) AS kept
    FROM changed_persona_texts AS p
    LEFT JOIN decisions AS l ON l.persona_id = p.persona_id AND l.stage = 'lexical' AND l.keeper_id IS NULL
    LEFT JOIN decisions AS s ON s.persona_id = p.persona_id AND s.stage = 'semantic' AND s.keeper_id IS NOT NULL
    GROUP BY p.batch
),
decided AS (
    SELECT l.batch, count(*) AS kept
    FROM changed_decisions AS l
    -- A survivor without a decision of the semantic stage is missing as well.
    LEFT JOIN decisions AS s ON s.persona_id = l.persona_id AND s.stage = 'semantic' AND s.keeper_id IS NOT NULL
    WHERE l.stage = 'lexical' AND l.keeper_id IS NULL AND s.persona_id IS NULL
    GROUP BY l.batch
)
SELECT
    h.batch,
    coalesce(d.kept, 0) - h.kept AS missing,
    h.personas - h.kept AS dropped_since,
    'personahub run --batch ' || h.batch AS remedy
FROM hub AS h
LEFT JOIN decided AS d ON d.batch = h.batch
WHERE h.kept <> coalesce(d.kept, 0) OR h.personas <> h.kept
ORDER BY h.batch
