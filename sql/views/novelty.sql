-- New personas per 1,000 calls by batch and hop: where it falls, the source or the hop is used up
-- batch: Batch of the candidates
-- hop: Relations followed from the document, 0 for personas inferred from documents
-- calls: Calls whose answers are in use or rejected, retries included
-- candidates: Personas in the accepted answers
-- personas: Candidates that were kept
-- new_per_1000_calls: personas by calls
WITH hops AS (
    SELECT batch, persona_id, hop FROM candidate_personas
),
calls AS (
    SELECT g.batch, CASE WHEN g.asset = 'text_personas' THEN 0 ELSE hops.hop + 1 END AS hop, sum(g.attempts)::BIGINT AS calls
    FROM generations AS g
    LEFT JOIN hops ON hops.batch = g.batch AND hops.persona_id = g.input_id
    WHERE g.asset IN ('text_personas', 'related_personas') AND g.status IN ('accepted', 'rejected')
    GROUP BY ALL
),
candidates AS (
    SELECT batch, hop, count(*) AS candidates, count(*) FILTER (fate = 'kept') AS personas
    FROM persona_fate
    WHERE origin <> 'imported'
    GROUP BY ALL
)
SELECT
    calls.batch,
    calls.hop::TINYINT AS hop,
    calls.calls,
    coalesce(c.candidates, 0) AS candidates,
    coalesce(c.personas, 0) AS personas,
    1000.0 * coalesce(c.personas, 0) / nullif(calls.calls, 0) AS new_per_1000_calls
FROM calls
LEFT JOIN candidates AS c ON c.batch = calls.batch AND c.hop = calls.hop
WHERE calls.hop IS NOT NULL
