-- How similar are the dropped personas to their keepers?
WITH binned AS (
    -- The sixth decimal is rounding noise of 32-bit vectors: without rounding, a cosine of 1 could be below 1.
    SELECT stage, least(floor(round(similarity, 6) * 100 + 1e-6) / 100, 1) AS from_similarity FROM duplicates
)
SELECT
    stage,
    from_similarity,
    count(*) AS dropped,
    round(100.0 * count(*) / sum(count(*)) OVER (PARTITION BY stage), 2) AS percent_of_stage,
    bar(count(*), 0, max(count(*)) OVER (PARTITION BY stage), 40) AS bar
FROM binned
GROUP BY stage, from_similarity
ORDER BY stage, from_similarity;
