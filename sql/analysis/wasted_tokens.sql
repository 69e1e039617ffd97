-- Which tasks paid tokens for answers that were not accepted?
SELECT
    asset,
    model,
    count(*) AS requests,
    sum(attempts) AS answers,
    count(*) FILTER (status = 'rejected') AS rejected,
    sum(wasted_tokens) AS wasted_tokens,
    round(100.0 * sum(wasted_tokens) / nullif(sum(prompt_tokens + completion_tokens), 0), 2) AS wasted_percent
FROM generations
WHERE status <> 'superseded'
GROUP BY ALL
ORDER BY wasted_tokens DESC, asset;
