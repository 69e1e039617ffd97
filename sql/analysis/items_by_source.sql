-- Which source files do the items of each dataset come from?
SELECT
    i.dataset,
    b.source,
    count(*) AS items,
    count(DISTINCT i.persona_id) AS personas,
    round(100.0 * count(*) / sum(count(*)) OVER (PARTITION BY i.dataset), 1) AS percent_of_dataset
FROM dataset_items AS i
JOIN batches AS b USING (batch)
GROUP BY i.dataset, b.source
ORDER BY i.dataset, items DESC, b.source;
