-- How varied is the vocabulary of each dataset (distinct-1, distinct-2)?
-- Only the first 1,000 items by id, which is a hash, because the figures fall with the length of the text.
WITH chosen AS (
    SELECT dataset, item_id
    FROM dataset_items
    QUALIFY row_number() OVER (PARTITION BY dataset ORDER BY item_id) <= 1000
),
sampled AS (
    SELECT dataset, item_id, text FROM dataset_items JOIN chosen USING (dataset, item_id)
),
cut AS (
    SELECT dataset, item_id, regexp_extract_all(lower(text), '[\p{L}\p{M}\p{N}]+') AS words FROM sampled
),
running AS (
    SELECT dataset, unnest(words) AS word, unnest(list_append(words[2:], NULL)) AS following FROM cut
),
sizes AS (
    SELECT dataset, count(*) AS items FROM sampled GROUP BY dataset
)
SELECT
    r.dataset,
    any_value(s.items) AS items,
    count(*) AS words,
    count(DISTINCT r.word) AS distinct_words,
    round(count(DISTINCT r.word) / count(*), 3) AS distinct_1,
    round(count(DISTINCT r.word || ' ' || r.following) / nullif(count(r.following), 0), 3) AS distinct_2
FROM running AS r
JOIN sizes AS s USING (dataset)
GROUP BY r.dataset
ORDER BY distinct_2 DESC, r.dataset;
