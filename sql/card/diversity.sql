-- How much the items of the datasets of the release differ: averages over the batches that reach the most words
WITH own AS (SELECT DISTINCT batch, dataset FROM released),
words AS (
    SELECT w.* FROM word_diversity AS w SEMI JOIN own USING (batch, dataset)
    QUALIFY w.words = max(w.words) OVER (PARTITION BY w.dataset)
)
SELECT
    w.dataset,
    w.words,
    count(*) AS batches,
    round(avg(w.distinct_1), 4) AS distinct_1,
    round(avg(w.distinct_2), 4) AS distinct_2,
    sum(m.items)::BIGINT AS embedded,
    round(avg(m.vendi), 2) AS vendi,
    round(avg(m.near_90), 4) AS near_90
FROM words AS w
LEFT JOIN meaning_diversity AS m USING (batch, dataset)
GROUP BY w.dataset, w.words
ORDER BY w.dataset
