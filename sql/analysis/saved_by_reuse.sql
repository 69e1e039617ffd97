-- How many answers were reused instead of paid again, and how many tokens did that save?
SELECT
    asset,
    count(*) AS accepted,
    count(*) FILTER (reused) AS reused,
    round(100.0 * count(*) FILTER (reused) / count(*), 1) AS percent_reused,
    coalesce(sum(answer_tokens) FILTER (reused), 0) AS completion_tokens_saved
FROM generations
WHERE status = 'accepted'
GROUP BY asset
ORDER BY reused DESC, asset;
