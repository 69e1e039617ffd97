-- Which batches repeat which: how many candidates were dropped for a keeper of which batch?
WITH sizes AS (
    SELECT batch, count(*) AS candidates FROM candidate_personas GROUP BY batch
)
SELECT
    d.batch AS dropped_batch,
    keeper.batch AS keeper_batch,
    count(*) FILTER (d.stage = 'lexical') AS lexical,
    count(*) FILTER (d.stage = 'semantic') AS semantic,
    round(100.0 * count(*) / any_value(s.candidates), 2) AS percent_of_candidates
FROM duplicates AS d
JOIN candidate_personas AS keeper ON keeper.persona_id = d.keeper_id
JOIN sizes AS s ON s.batch = d.batch
GROUP BY d.batch, keeper.batch
ORDER BY count(*) DESC, dropped_batch, keeper_batch
LIMIT 100;
