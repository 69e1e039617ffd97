-- How many tokens does a kept row cost, by asset?
SELECT
    asset,
    sum(kept_rows) AS kept_rows,
    sum(prompt_tokens) AS prompt_tokens,
    sum(completion_tokens) AS completion_tokens,
    round(sum(prompt_tokens + completion_tokens) / nullif(sum(kept_rows), 0), 1) AS tokens_per_kept_row
FROM cost_per_kept_row
GROUP BY asset
ORDER BY tokens_per_kept_row DESC;
