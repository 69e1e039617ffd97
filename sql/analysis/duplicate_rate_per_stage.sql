-- How many personas does each dedup stage drop, and how many of them for a keeper of another batch?
SELECT
    d.stage,
    count(*) AS dropped,
    round(100.0 * count(*) / (SELECT count(*) FROM candidate_personas), 2) AS percent_of_candidates,
    round(100.0 * count(*) FILTER (keeper.batch <> d.batch) / count(*), 1) AS percent_across_batches,
    round(avg(d.similarity), 4) AS mean_similarity
FROM duplicates AS d
JOIN candidate_personas AS keeper ON keeper.persona_id = d.keeper_id
GROUP BY d.stage
ORDER BY d.stage;
