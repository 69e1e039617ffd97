-- State of a persona, or of those of an item or a call, and of each keeper it was dropped for, up to one in the hub
-- of_persona_id: First persona of the chain
-- link: 0 for that persona, 1 for the keeper it was dropped for, and so on
-- persona_id: Persona of this link
-- batch: Batch of the persona
-- persona: Text of the persona
-- fate: kept, lexical duplicate, semantic duplicate, undecided, or gone (no batch has it any more)
-- stage: Stage at which it was dropped
-- keeper_id: Persona for which it was dropped
-- similarity: Similarity of the persona and its keeper
-- stale: True if it is still in the hub, but was dropped or removed from its batch since: run the batch
CREATE MACRO fate(asked_id) AS TABLE
WITH RECURSIVE asked AS MATERIALIZED (
    SELECT kind FROM ids WHERE id = asked_id
),
firsts AS MATERIALIZED (
    SELECT persona_id FROM candidate_personas WHERE persona_id = asked_id
    UNION
    -- The hub can contain personas that a refresh removed from their batch.
    SELECT persona_id FROM personas WHERE persona_id IN (SELECT asked_id WHERE NOT EXISTS (FROM asked))
    UNION
    SELECT persona_id FROM written_items WHERE item_id IN (SELECT asked_id FROM asked WHERE kind = 'item')
    UNION
    SELECT persona_id FROM candidate_personas WHERE generation_id IN (SELECT asked_id FROM asked WHERE kind = 'generation')
),
chain AS (
    SELECT persona_id AS of_persona_id, 0 AS link, persona_id FROM firsts
    UNION ALL
    SELECT chain.of_persona_id, chain.link + 1, d.keeper_id
    FROM chain
    JOIN duplicates AS d ON d.persona_id = chain.persona_id
    WHERE chain.link < 20
),
links AS MATERIALIZED (SELECT * FROM chain LIMIT 5000),
known AS MATERIALIZED (
    SELECT batch, persona_id, persona FROM candidate_personas WHERE persona_id IN (SELECT persona_id FROM links)
),
kept AS MATERIALIZED (
    SELECT batch, persona_id, persona FROM personas WHERE persona_id IN (SELECT persona_id FROM links)
),
dropped AS MATERIALIZED (
    SELECT stage, persona_id, keeper_id, similarity
    FROM duplicates
    WHERE persona_id IN (SELECT persona_id FROM links)
)
SELECT
    links.of_persona_id,
    links.link,
    links.persona_id,
    coalesce(known.batch, kept.batch) AS batch,
    coalesce(known.persona, kept.persona) AS persona,
    fate_of(kept.persona_id IS NOT NULL, dropped.stage, known.persona_id IS NOT NULL) AS fate,
    dropped.stage,
    dropped.keeper_id,
    dropped.similarity,
    kept.persona_id IS NOT NULL AND (dropped.stage IS NOT NULL OR known.persona_id IS NULL) AS stale
FROM links
LEFT JOIN known USING (persona_id)
LEFT JOIN kept USING (persona_id)
LEFT JOIN dropped USING (persona_id)
ORDER BY links.of_persona_id, links.link, dropped.stage;
