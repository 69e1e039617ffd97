-- The hub contains what both stages keep; if not, a new rule changed the decisions in another run: run the batch again
-- severity: warn
WITH kept AS (
    SELECT l.batch, l.persona_id
    FROM changed_decisions AS l
    -- A survivor without a decision of the semantic stage is missing as well.
    LEFT JOIN decisions AS s ON s.persona_id = l.persona_id AND s.stage = 'semantic' AND s.keeper_id IS NOT NULL
    WHERE l.stage = 'lexical'
        AND l.keeper_id IS NULL
        AND s.persona_id IS NULL
        AND l.batch IN (SELECT batch FROM changed_persona_texts)
),
differences AS (
    SELECT k.batch, 1 AS missing, 0 AS dropped_since
    FROM kept AS k
    LEFT JOIN changed_persona_texts AS p ON p.persona_id = k.persona_id AND p.batch = k.batch
    WHERE p.persona_id IS NULL
    UNION ALL
    SELECT p.batch, 0, 1
    FROM changed_persona_texts AS p
    LEFT JOIN kept AS k ON k.persona_id = p.persona_id AND k.batch = p.batch
    WHERE k.persona_id IS NULL
)
SELECT
    batch,
    sum(missing) AS missing,
    sum(dropped_since) AS dropped_since,
    'personahub run --batch ' || batch AS remedy
FROM differences
GROUP BY batch
ORDER BY batch
