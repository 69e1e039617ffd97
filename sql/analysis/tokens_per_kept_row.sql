-- What does a kept row cost in tokens, by asset?
WITH kept AS (
    SELECT 'text_personas' AS asset, count(*) AS kept_rows FROM personas WHERE origin = 'text'
    UNION ALL
    SELECT 'related_personas', count(*) FROM personas WHERE origin = 'relation'
    UNION ALL
    SELECT dataset, count(*) FROM dataset_items GROUP BY dataset
)
SELECT
    g.asset,
    any_value(k.kept_rows) AS kept_rows,
    sum(g.prompt_tokens) AS prompt_tokens,
    sum(g.completion_tokens) AS completion_tokens,
    round(sum(g.prompt_tokens + g.completion_tokens) / nullif(any_value(k.kept_rows), 0), 1) AS tokens_per_kept_row
FROM generations AS g
JOIN kept AS k USING (asset)
WHERE NOT g.reused
GROUP BY g.asset
ORDER BY tokens_per_kept_row DESC;
