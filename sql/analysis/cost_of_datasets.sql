-- How many tokens and how much money did each dataset and each of its items cost?
-- All paid calls count: those of accepted, rejected and superseded answers, and those whose answers are not published yet.
-- cost is null if no price was set ([prices] in hub.toml) when the calls were made; calls_without_price are not in it.
-- The cost of the personas is not included: see text_personas and related_personas in cost_per_kept_row.
SELECT
    c.asset AS dataset,
    sum(c.kept_rows) AS items,
    sum(c.unpublished) AS unpublished,
    sum(c.calls) AS calls,
    sum(c.prompt_tokens + c.completion_tokens) AS tokens,
    round(sum(c.prompt_tokens + c.completion_tokens) / nullif(sum(c.kept_rows), 0), 1) AS tokens_per_item,
    round(sum(c.cost), 4) AS cost,
    sum(c.calls_without_price) AS calls_without_price,
    round(1000 * sum(c.cost) / nullif(sum(c.kept_rows), 0), 4) AS cost_per_thousand_items
FROM cost_per_kept_row AS c
WHERE c.asset NOT IN ('text_personas', 'related_personas')
GROUP BY c.asset
ORDER BY tokens DESC, dataset;
