-- How many answers does it take until one is accepted, by task and model?
SELECT
    asset,
    model,
    count(*) AS accepted,
    count(*) FILTER (attempts = 1) AS at_once,
    count(*) FILTER (attempts = 2) AS after_one_reask,
    count(*) FILTER (attempts > 2) AS after_more,
    round(100.0 * count(*) FILTER (attempts = 1) / count(*), 2) AS percent_at_once,
    round(avg(attempts), 3) AS answers_per_accepted
FROM generations
WHERE status = 'accepted' AND NOT reused
GROUP BY asset, model
ORDER BY answers_per_accepted DESC, asset, model;
