-- How long are the items of each dataset?
SELECT
    dataset,
    count(*) AS items,
    min(length(text)) AS shortest,
    round(median(length(text))) AS median,
    max(length(text)) AS longest,
    count(*) - count(DISTINCT text) AS repeated_texts
FROM dataset_items
GROUP BY dataset
ORDER BY dataset;
