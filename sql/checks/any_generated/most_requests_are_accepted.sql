-- No batch has more than generation.max_rejected_share of its requests rejected (and 19): check prompt and model
-- severity: warn
SELECT
    batch,
    count(*) AS requests,
    count(*) FILTER (status = 'rejected') AS rejected,
    round(rejected / requests, 4) AS share,
    mode(reason) AS mostly
FROM generations
WHERE asset = '{asset}' AND status <> 'superseded' AND reason IS DISTINCT FROM 'taken_down'
GROUP BY batch
HAVING rejected > 19 AND rejected > {generation.max_rejected_share} * requests
ORDER BY share DESC, batch
