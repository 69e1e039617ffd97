-- Calls, tokens and cost by asset, hop, prompt and model, also per kept row
-- asset: Asset that sent the request
-- hop: Hop of the input; null if the persona no longer exists, or if the answer is not published yet
-- prompt_fingerprint: Hash of the prompt with its parameters and sampling
-- model: Model that answered
-- requests: Rows of generations
-- accepted: Requests with an answer in use
-- rejected: Requests that are quarantined
-- superseded: Requests that have changed since
-- unpublished: Requests with answers that no table has yet, such as those of a stopped run or of a preview
-- calls: Paid answers, including retries, without reused answers
-- kept_rows: Rows of personas or items from accepted answers
-- prompt_tokens: Paid prompt tokens
-- cached_tokens: Prompt tokens from the server's prefix cache
-- completion_tokens: Paid completion tokens
-- wasted_tokens: Tokens of answers that were not used
-- cost: Cost at the prices at the time of the call; null if no price was set for any of the calls
-- calls_without_price: Calls that are not in cost, because no price was set
-- tokens_per_kept_row: Prompt and completion tokens per kept row
-- cost_per_kept_row: Cost per kept row
-- cached_percent: Percentage of prompt tokens that were cached
WITH hops AS (
    SELECT persona_id, hop FROM candidate_personas
),
kept AS (
    SELECT generation_id, count(*) AS kept_rows
    FROM (
        SELECT generation_id FROM personas WHERE generation_id IS NOT NULL
        UNION ALL
        SELECT generation_id FROM written_items
    )
    GROUP BY generation_id
),
sums AS (
    SELECT
        g.asset,
        -- Hop of the requested rows: one more than that of the expanded persona.
        CASE g.asset WHEN 'text_personas' THEN 0 WHEN 'related_personas' THEN hops.hop + 1 ELSE hops.hop END AS hop,
        g.prompt_fingerprint,
        g.model,
        count(*) AS requests,
        count(*) FILTER (g.status = 'accepted') AS accepted,
        count(*) FILTER (g.status = 'rejected') AS rejected,
        count(*) FILTER (g.status = 'superseded') AS superseded,
        0 AS unpublished,
        coalesce(sum(kept.kept_rows) FILTER (g.status = 'accepted'), 0)::BIGINT AS kept_rows,
        -- A reused answer was paid in another row.
        coalesce(sum(g.attempts) FILTER (NOT g.reused), 0)::BIGINT AS calls,
        coalesce(sum(g.prompt_tokens) FILTER (NOT g.reused), 0)::BIGINT AS prompt_tokens,
        coalesce(sum(g.cached_tokens) FILTER (NOT g.reused), 0)::BIGINT AS cached_tokens,
        coalesce(sum(g.completion_tokens) FILTER (NOT g.reused), 0)::BIGINT AS completion_tokens,
        coalesce(sum(g.wasted_tokens) FILTER (NOT g.reused), 0)::BIGINT AS wasted_tokens,
        round(coalesce(fsum(g.cost) FILTER (NOT g.reused), 0), 9) AS cost,
        coalesce(sum(g.attempts) FILTER (NOT g.reused AND g.cost = 0 AND g.prompt_tokens + g.completion_tokens > 0), 0)::BIGINT
            AS calls_without_price
    FROM generations AS g
    LEFT JOIN hops ON hops.persona_id = g.input_id
    LEFT JOIN kept USING (generation_id)
    GROUP BY ALL
    UNION ALL BY NAME
    SELECT
        asset,
        NULL AS hop,
        prompt_fingerprint,
        model,
        0 AS requests,
        0 AS accepted,
        0 AS rejected,
        0 AS superseded,
        sum(requests)::BIGINT AS unpublished,
        0 AS kept_rows,
        sum(calls)::BIGINT AS calls,
        sum(prompt_tokens)::BIGINT AS prompt_tokens,
        sum(cached_tokens)::BIGINT AS cached_tokens,
        sum(completion_tokens)::BIGINT AS completion_tokens,
        sum(wasted_tokens)::BIGINT AS wasted_tokens,
        round(fsum(cost), 9) AS cost,
        sum(calls_without_price)::BIGINT AS calls_without_price
    FROM unpublished_calls
    GROUP BY ALL
),
priced AS (
    SELECT * REPLACE (CASE WHEN cost = 0 AND calls_without_price > 0 THEN NULL ELSE cost END AS cost) FROM sums
)
SELECT
    asset,
    hop,
    prompt_fingerprint,
    model,
    requests,
    accepted,
    rejected,
    superseded,
    unpublished,
    calls,
    kept_rows,
    prompt_tokens,
    cached_tokens,
    completion_tokens,
    wasted_tokens,
    cost,
    calls_without_price,
    round((prompt_tokens + completion_tokens) / nullif(kept_rows, 0), 1) AS tokens_per_kept_row,
    cost / nullif(kept_rows, 0) AS cost_per_kept_row,
    round(100.0 * cached_tokens / nullif(prompt_tokens, 0), 1) AS cached_percent
FROM priced
