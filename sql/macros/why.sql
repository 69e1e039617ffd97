-- Why a document, persona, item, call or quarantined row exists or was dropped: one line per fact, with related ids
-- kind: document, persona, item, generation, source row (quarantined) or input (of a call, deleted since)
-- batch: Batch of the id; a document can be in several batches, each with its own lines: select by why('batch/id')
-- of_id: The id
-- step: Position of the line
-- what: Kind of fact: the kind of the id, made by, call, asked about, gave persona, gave item, from item, from persona, from document, from file, in the hub, dropped for, undecided, gone, contaminated, kept out, such as, led to, quarantined
-- id: Related id, for a further call
-- detail: Description
-- text: The persona, the document, the item, the answer, or the raw text that was quarantined
-- facts: The description as a JSON object
CREATE MACRO why(asked_id) AS TABLE
WITH wanted AS (
    -- An id, or batch/id if several batches have it.
    SELECT asked_id AS id, NULL AS batch
    UNION ALL
    SELECT substr(asked_id, instr(asked_id, '/') + 1), substr(asked_id, 1, instr(asked_id, '/') - 1) WHERE instr(asked_id, '/') > 1
),
refused AS MATERIALIZED (
    SELECT * FROM quarantine WHERE input_id IN (SELECT id FROM wanted)
),
listed AS MATERIALIZED (
    SELECT kind, batch, asset, id FROM ids WHERE id IN (asked_id, substr(asked_id, instr(asked_id, '/') + 1))
),
known AS (
    FROM listed
    UNION ALL
    -- Still in the hub, although a refresh removed it from its batch.
    SELECT 'persona', batch, 'personas', persona_id
    FROM personas
    WHERE persona_id IN (SELECT split_part(asked_id, '/', -1) WHERE NOT EXISTS (FROM listed))
    UNION
    SELECT 'source row', batch, asset, input_id FROM refused WHERE asset = 'documents'
    UNION
    -- Inputs of calls that no longer exist.
    SELECT 'input', batch, min(asset), input_id
    FROM refused
    WHERE asset <> 'documents' AND (batch, input_id) NOT IN (SELECT batch, id FROM listed)
    GROUP BY batch, input_id
),
asked AS MATERIALIZED (
    SELECT k.* FROM known AS k SEMI JOIN wanted AS w ON w.id = k.id AND coalesce(w.batch, k.batch) = k.batch
),

-- The rows themselves.
texts AS MATERIALIZED (
    SELECT *
    FROM documents
    -- A limit that is never reached tells the planner to expect few rows, here and below.
    WHERE (batch, document_id) IN (SELECT batch, id FROM asked WHERE kind = 'document' LIMIT 5000)
),
line AS MATERIALIZED (
    SELECT * FROM lineage(split_part(asked_id, '/', -1)) WHERE batch IN (SELECT batch FROM asked)
),
-- Each row of a call has one line above it.
above AS (
    SELECT * FROM line WHERE step > 0 AND of_id = (SELECT min(l.of_id) FROM line AS l)
),
fates AS MATERIALIZED (
    SELECT * FROM fate(split_part(asked_id, '/', -1)) WHERE EXISTS (FROM asked WHERE kind <> 'document')
),
by_id AS MATERIALIZED (
    SELECT batch, asset, id FROM asked WHERE kind = 'generation'
    UNION ALL
    SELECT batch, asset, generation_id FROM line WHERE step = 0
),
by_input AS MATERIALIZED (
    SELECT batch, 'text_personas' AS asset, id FROM asked WHERE kind = 'document'
    UNION ALL
    SELECT r.batch, r.asset, r.input_id FROM refused AS r SEMI JOIN asked AS a ON a.kind = 'input' AND a.batch = r.batch
),
calls AS MATERIALIZED (
    -- One scan, because each lists the files of all batches; of those it opens the ones of these batches.
    SELECT g.*
    FROM generations AS g
    SEMI JOIN (SELECT batch, asset FROM by_id UNION ALL SELECT batch, asset FROM by_input LIMIT 5000) AS w
        ON w.batch = g.batch AND w.asset = g.asset
    WHERE
        (g.batch, g.asset, g.generation_id) IN (SELECT batch, asset, id FROM by_id)
        OR (g.batch, g.asset, g.input_id) IN (SELECT batch, asset, id FROM by_input)
),
told AS (
    SELECT
        *,
        concat_ws(', ',
            'prompt ' || prompt || ' ' || prompt_fingerprint,
            'model ' || model,
            status || coalesce(' as ' || reason, ''),
            'superseded at ' || strftime(superseded_at, '%Y-%m-%d %H:%M') || ' UTC',
            CASE
                WHEN reused THEN 'reused: paid for elsewhere in the home'
                ELSE concat_ws(', ',
                    attempts || CASE WHEN attempts = 1 THEN ' answer' ELSE ' answers' END,
                    prompt_tokens || ' + ' || completion_tokens || ' tokens',
                    CASE WHEN wasted_tokens > 0 THEN wasted_tokens || ' of them wasted' END,
                    CASE WHEN cost > 0 THEN 'cost ' || round(cost, 6) END
                )
            END
        ) AS said,
        to_json({
            prompt: prompt, prompt_fingerprint: prompt_fingerprint, schema_fingerprint: schema_fingerprint,
            model: model, status: status, reason: reason, reused: reused, attempts: attempts, repaired: repaired,
            finish_reason: finish_reason, prompt_tokens: prompt_tokens, cached_tokens: cached_tokens,
            completion_tokens: completion_tokens, wasted_tokens: wasted_tokens, latency_s: latency_s,
            cost: CASE WHEN cost = 0 AND NOT reused AND prompt_tokens + completion_tokens > 0 THEN NULL ELSE cost END,
            superseded_at: superseded_at, asset: asset, input_id: input_id, sample: sample
        }) AS facts
    FROM calls
),
inputs AS MATERIALIZED (
    SELECT item_id AS id, batch, text, 'item' AS kind
    FROM written_items
    WHERE item_id IN (SELECT c.input_id FROM calls AS c WHERE c.generation_id IN (SELECT id FROM asked) LIMIT 5000)
    UNION ALL
    SELECT persona_id AS id, batch, persona AS text, 'persona' AS kind
    FROM candidate_personas
    WHERE persona_id IN (SELECT c.input_id FROM calls AS c WHERE c.generation_id IN (SELECT id FROM asked) LIMIT 5000)
    UNION ALL
    SELECT document_id, batch, text, 'document'
    FROM documents
    WHERE (batch, document_id) IN (
        SELECT c.batch, c.input_id FROM calls AS c WHERE c.generation_id IN (SELECT id FROM asked) LIMIT 5000
    )
),

-- The personas concerned: the persona itself, or the personas of a document.
family AS MATERIALIZED (
    SELECT *
    FROM candidate_personas
    WHERE (batch, document_id) IN (SELECT batch, id FROM asked WHERE kind = 'document' LIMIT 5000)
),
children AS MATERIALIZED (
    SELECT * FROM candidate_personas WHERE parent_id IN (SELECT id FROM asked WHERE kind = 'persona' LIMIT 5000)
),
related AS MATERIALIZED (
    SELECT document_id AS owner, * FROM family
    UNION ALL
    SELECT parent_id, * FROM children
),
in_hub AS MATERIALIZED (
    SELECT persona_id FROM personas WHERE persona_id IN (SELECT persona_id FROM related)
),
items AS MATERIALIZED (
    SELECT * FROM written_items WHERE persona_id IN (
        SELECT id FROM asked WHERE kind = 'persona' UNION ALL SELECT persona_id FROM family
    )
),
made AS MATERIALIZED (
    SELECT * FROM written_items WHERE source_id IN (SELECT id FROM asked WHERE kind = 'item' LIMIT 5000)
),
absorbed AS MATERIALIZED (
    SELECT *, row_number() OVER (PARTITION BY stage ORDER BY similarity, persona_id) AS place
    FROM duplicates
    WHERE keeper_id IN (SELECT id FROM asked WHERE kind = 'persona' LIMIT 5000)
),
absorbed_texts AS MATERIALIZED (
    SELECT persona_id, persona
    FROM candidate_personas
    WHERE persona_id IN (SELECT persona_id FROM absorbed WHERE place <= 3 LIMIT 5000)
),

-- The items that nearly repeat another one, and the ones that they were dropped for.
repeated AS MATERIALIZED (
    SELECT * FROM item_duplicates WHERE item_id IN (SELECT id FROM asked WHERE kind = 'item' LIMIT 5000)
),
repeats AS MATERIALIZED (
    SELECT *, row_number() OVER (PARTITION BY stage ORDER BY similarity, item_id) AS place
    FROM item_duplicates
    WHERE keeper_id IN (SELECT id FROM asked WHERE kind = 'item' LIMIT 5000)
),
item_texts AS MATERIALIZED (
    SELECT item_id, text
    FROM written_items
    WHERE item_id IN (
        SELECT keeper_id FROM repeated UNION ALL SELECT item_id FROM repeats WHERE place <= 3 LIMIT 5000
    )
),

facts AS (
    -- 1: the row itself
    SELECT
        a.kind, a.batch, a.id AS of_what, 1 AS section, 0 AS place, a.kind AS what, a.id,
        concat_ws(', ', l.asset, l.relation, 'hop ' || l.hop, CASE WHEN l.origin = 'imported' THEN 'imported' END) AS detail, l.text,
        to_json({asset: l.asset, origin: l.origin, relation: l.relation, hop: l.hop}) AS facts
    FROM asked AS a
    JOIN line AS l ON l.of_id = a.id AND l.step = 0 AND a.kind = l.kind
    UNION ALL
    SELECT
        a.kind, a.batch, a.id, 1, 0, 'persona', a.id, 'in the hub, but no candidate of its batch any more', p.persona, NULL
    FROM asked AS a
    JOIN fates AS p ON p.persona_id = a.id
    WHERE a.asset = 'personas'
    UNION ALL
    SELECT
        a.kind, a.batch, a.id, 1, 0, 'document', a.id, concat_ws(', ', d.url, d.source), d.text,
        to_json({url: d.url, source: d.source})
    FROM asked AS a
    JOIN texts AS d ON d.batch = a.batch AND d.document_id = a.id
    WHERE a.kind = 'document'
    UNION ALL
    SELECT a.kind, a.batch, a.id, 1, 0, 'generation', a.id, g.said, g.response, g.facts
    FROM asked AS a
    JOIN told AS g ON g.generation_id = a.id AND g.batch = a.batch
    WHERE a.kind = 'generation'
    UNION ALL
    SELECT a.kind, a.batch, a.id, 1, 0, a.kind, a.id, CASE WHEN a.kind = 'input' THEN 'no document, persona or item of its batch any more' END, NULL, NULL
    FROM asked AS a
    WHERE a.kind IN ('source row', 'input')

    -- 2: the call that produced it, or the calls for it
    UNION ALL
    SELECT a.kind, a.batch, a.id, 2, 0, 'made by', g.generation_id, g.said, NULL, g.facts
    FROM asked AS a
    JOIN line AS l ON l.of_id = a.id AND l.step = 0 AND l.kind = a.kind
    JOIN told AS g ON g.generation_id = l.generation_id AND g.batch = a.batch
    UNION ALL
    SELECT a.kind, a.batch, a.id, 2, 0, 'call', g.generation_id, g.said, g.detail, g.facts
    FROM asked AS a
    JOIN told AS g ON g.input_id = a.id AND g.batch = a.batch
    WHERE a.kind IN ('document', 'input')
    UNION ALL
    SELECT a.kind, a.batch, a.id, 2, 0, 'asked about', g.input_id, coalesce(i.kind, 'gone since'), i.text, NULL
    FROM asked AS a
    JOIN told AS g ON g.generation_id = a.id AND g.batch = a.batch
    LEFT JOIN inputs AS i ON i.id = g.input_id AND i.batch = g.batch
    WHERE a.kind = 'generation'
    UNION ALL
    SELECT a.kind, a.batch, a.id, 3, 0, 'gave ' || l.kind, l.id, f.fate, l.text, NULL
    FROM asked AS a
    JOIN line AS l ON l.step = 0
    LEFT JOIN fates AS f ON f.persona_id = l.id AND f.link = 0
    WHERE a.kind = 'generation'

    -- 4: its origin
    UNION ALL
    SELECT
        a.kind, a.batch, a.id, 4, l.step, 'from ' || l.kind, l.id,
        concat_ws(', ',
            l.relation, 'hop ' || l.hop, CASE WHEN l.origin = 'imported' THEN 'imported' END,
            'prompt ' || l.prompt || ' ' || l.prompt_fingerprint, 'model ' || l.model, 'call ' || l.generation_id,
            CASE WHEN l.kind = 'document' THEN coalesce(l.url, l.source) END
        ),
        l.text,
        to_json({
            relation: l.relation, hop: l.hop, origin: l.origin, generation_id: l.generation_id, prompt: l.prompt,
            prompt_fingerprint: l.prompt_fingerprint, model: l.model, url: l.url, source: l.source
        })
    FROM asked AS a
    JOIN above AS l ON a.kind IN ('persona', 'item', 'generation')
    UNION ALL
    SELECT
        a.kind, a.batch, a.id, 4, 100, 'from file', b.source,
        concat_ws(', ', b.rows || ' rows from row ' || b.first_row, 'SHA-256 ' || b.sha256), NULL,
        to_json({source: b.source, sha256: b.sha256, rows: b.rows, first_row: b.first_row})
    FROM asked AS a
    JOIN batches AS b USING (batch)

    -- 5: its state, and the state of its keeper
    UNION ALL
    SELECT
        a.kind, a.batch, a.id, 5, f.link,
        CASE
            WHEN f.fate = 'kept' THEN 'in the hub'
            WHEN f.stage IS NOT NULL THEN 'dropped for'
            ELSE f.fate
        END,
        CASE WHEN f.fate <> 'kept' AND f.stage IS NOT NULL THEN f.keeper_id ELSE f.persona_id END,
        CASE
            WHEN f.fate = 'kept' AND f.stage IS NOT NULL
                THEN 'but dropped since (' || f.stage || ' stage, for ' || f.keeper_id || '): run the batch again'
            WHEN f.fate = 'kept' AND f.stale THEN 'but its batch has lost it: run the batch again'
            WHEN f.fate = 'kept' THEN 'batch ' || f.batch
            WHEN f.fate = 'undecided' THEN 'dedup of batch ' || f.batch || ' has not run since it came: run the batch'
            WHEN f.fate = 'gone' THEN 'no batch has it any more; what was dropped for it comes back when its batch is run'
            ELSE f.stage || ' duplicate, similarity ' || round(f.similarity, 4)
        END,
        CASE WHEN f.fate <> 'kept' AND f.stage IS NOT NULL THEN k.persona END,
        to_json({
            persona_id: f.persona_id, fate: f.fate, stage: f.stage, keeper_id: f.keeper_id,
            similarity: f.similarity, batch: f.batch, stale: f.stale
        })
    FROM asked AS a
    JOIN fates AS f ON a.kind IN ('persona', 'item')
    LEFT JOIN fates AS k ON k.persona_id = f.keeper_id AND k.of_persona_id = f.of_persona_id AND k.link = f.link + 1

    UNION ALL
    SELECT
        a.kind, a.batch, a.id, 5, -1, 'dropped for', d.keeper_id,
        'item, ' || d.stage || ' duplicate, similarity ' || round(d.similarity, 4), t.text,
        to_json({dataset: d.dataset, stage: d.stage, keeper_id: d.keeper_id, similarity: d.similarity})
    FROM asked AS a
    JOIN repeated AS d ON d.item_id = a.id AND d.batch = a.batch AND d.dataset = a.asset
    LEFT JOIN item_texts AS t ON t.item_id = d.keeper_id

    UNION ALL
    SELECT
        a.kind, a.batch, a.id, 5, 50, 'contaminated', c.test_file,
        'matches row ' || c.test_row || ' by ' || c.method || ', similarity ' || round(c.similarity, 4)
        || ': not in releases', c.passage,
        to_json({test_file: c.test_file, test_row: c.test_row, method: c.method, similarity: c.similarity})
    FROM asked AS a
    JOIN contaminated AS c ON c.batch = a.batch AND c.item_id = a.id AND a.kind = 'item'

    -- 6: its duplicates
    UNION ALL
    SELECT
        a.kind, a.batch, a.id, 6, 0, 'kept out', NULL,
        count(*) || CASE WHEN count(*) = 1 THEN ' item' ELSE ' items' END || ' at the ' || d.stage || ' stage, similarity '
        || round(min(d.similarity), 4) || ' to ' || round(max(d.similarity), 4), NULL,
        to_json({stage: d.stage, count: count(*), least: min(d.similarity), most: max(d.similarity)})
    FROM asked AS a
    JOIN repeats AS d ON d.keeper_id = a.id AND d.dataset = a.asset
    GROUP BY a.kind, a.batch, a.id, d.stage
    UNION ALL
    SELECT
        a.kind, a.batch, a.id, 6, d.place, 'such as', d.item_id,
        d.stage || ' duplicate, similarity ' || round(d.similarity, 4), t.text,
        to_json({stage: d.stage, similarity: d.similarity})
    FROM asked AS a
    JOIN repeats AS d ON d.keeper_id = a.id AND d.dataset = a.asset AND d.place <= 3
    LEFT JOIN item_texts AS t ON t.item_id = d.item_id
    UNION ALL
    SELECT
        a.kind, a.batch, a.id, 6, 0, 'kept out', NULL,
        count(*) || ' at the ' || d.stage || ' stage, similarity ' || round(min(d.similarity), 4) || ' to '
        || round(max(d.similarity), 4), NULL,
        to_json({stage: d.stage, count: count(*), least: min(d.similarity), most: max(d.similarity)})
    FROM asked AS a
    JOIN absorbed AS d ON d.keeper_id = a.id
    GROUP BY a.kind, a.batch, a.id, d.stage
    UNION ALL
    SELECT
        a.kind, a.batch, a.id, 6, d.place, 'such as', d.persona_id,
        d.stage || ' duplicate, similarity ' || round(d.similarity, 4), t.persona,
        to_json({stage: d.stage, similarity: d.similarity})
    FROM asked AS a
    JOIN absorbed AS d ON d.keeper_id = a.id AND d.place <= 3
    LEFT JOIN absorbed_texts AS t ON t.persona_id = d.persona_id

    -- 7: the rows made from it
    UNION ALL
    SELECT
        a.kind, a.batch, a.id, 7, r.hop, 'led to', CASE WHEN count(*) = 1 THEN min(r.persona_id) END,
        count(*) || CASE WHEN count(*) = 1 THEN ' persona' ELSE ' personas' END || ' of hop ' || r.hop || ', '
        || CASE count(h.persona_id)
            WHEN 0 THEN 'not in the hub' WHEN count(*) THEN 'in the hub' ELSE count(h.persona_id) || ' in the hub'
        END, NULL,
        to_json({hop: r.hop, personas: count(*), in_hub: count(h.persona_id)})
    FROM asked AS a
    JOIN related AS r ON r.owner = a.id AND r.batch = a.batch
    LEFT JOIN in_hub AS h ON h.persona_id = r.persona_id
    GROUP BY a.kind, a.batch, a.id, r.hop
    UNION ALL
    SELECT
        a.kind, a.batch, a.id, 8, 0, 'led to', CASE WHEN count(*) = 1 THEN min(i.item_id) END,
        count(*) || CASE WHEN count(*) = 1 THEN ' item' ELSE ' items' END || ' in ' || i.dataset, NULL,
        to_json({dataset: i.dataset, items: count(*)})
    FROM asked AS a
    JOIN items AS i ON i.batch = a.batch AND a.kind IN ('persona', 'document')
    GROUP BY a.kind, a.batch, a.id, i.dataset

    UNION ALL
    SELECT
        a.kind, a.batch, a.id, 8, 0, 'led to', CASE WHEN count(*) = 1 THEN min(i.item_id) END,
        count(*) || CASE WHEN count(*) = 1 THEN ' item' ELSE ' items' END || ' in ' || i.dataset, NULL,
        to_json({dataset: i.dataset, items: count(*)})
    FROM asked AS a
    JOIN made AS i ON i.batch = a.batch AND i.source_id = a.id AND a.kind = 'item'
    GROUP BY a.kind, a.batch, a.id, i.dataset

    -- 9: its quarantined requests
    UNION ALL
    SELECT
        a.kind, a.batch, a.id, 9, 0, 'quarantined', r.asset, r.reason || ': ' || r.detail, r.raw,
        to_json({asset: r.asset, reason: r.reason, detail: r.detail})
    FROM asked AS a
    JOIN refused AS r ON r.batch = a.batch AND r.input_id = a.id AND (r.asset = 'documents') = (a.kind = 'source row')
)
SELECT
    kind, batch, of_what AS of_id,
    row_number() OVER (
        PARTITION BY kind, batch, of_what ORDER BY section, place, what, detail, id
    ) AS step,
    what, id, detail, text, facts
FROM facts
ORDER BY kind, batch, of_id, step;
