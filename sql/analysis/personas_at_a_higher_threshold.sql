-- How many dropped personas would a higher threshold keep, at most?
-- At most: a persona can have a second similar keeper, and the semantic stage can drop what the lexical one keeps.
WITH thresholds AS (SELECT i / 40 AS threshold FROM range(20, 41) AS steps(i)),
candidates AS (SELECT stage, sum(candidates) AS candidates FROM dedup_runs GROUP BY stage),
lowest AS (SELECT stage, min(similarity) AS similarity FROM duplicates GROUP BY stage)
SELECT
    d.stage,
    t.threshold,
    count(*) FILTER (d.similarity < t.threshold - 1e-6) AS given_back_at_most,
    count(*) FILTER (d.similarity >= t.threshold - 1e-6) AS dropped_still,
    round(100.0 * count(*) FILTER (d.similarity < t.threshold - 1e-6) / count(*), 1) AS percent_of_drops,
    round(100.0 * count(*) FILTER (d.similarity < t.threshold - 1e-6) / any_value(c.candidates), 2) AS percent_of_candidates
FROM duplicates AS d
JOIN candidates AS c USING (stage)
JOIN lowest USING (stage)
JOIN thresholds AS t ON t.threshold > lowest.similarity + 1e-6
GROUP BY d.stage, t.threshold
ORDER BY d.stage, t.threshold;
