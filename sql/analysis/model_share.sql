-- Which share of each dataset's items was written by which model?
SELECT
    i.dataset,
    g.model,
    count(*) AS items,
    round(100.0 * count(*) / sum(count(*)) OVER (PARTITION BY i.dataset), 1) AS percent_of_dataset
FROM dataset_items AS i
JOIN generations AS g USING (generation_id)
GROUP BY i.dataset, g.model
ORDER BY i.dataset, items DESC, g.model;
