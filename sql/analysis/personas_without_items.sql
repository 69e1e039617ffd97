-- How many personas have no item in a dataset, and how many of them are in quarantine?
WITH served AS (
    SELECT DISTINCT dataset, persona_id FROM dataset_items
),
failed AS (
    SELECT DISTINCT q.asset AS dataset, q.input_id AS persona_id
    FROM quarantine AS q
    JOIN personas AS p ON p.persona_id = q.input_id
    ANTI JOIN served AS s ON s.dataset = q.asset AND s.persona_id = q.input_id
)
SELECT
    s.dataset,
    (SELECT count(*) FROM personas) AS personas,
    count(*) AS with_items,
    (SELECT count(*) FROM personas) - count(*) AS without,
    (SELECT count(*) FROM failed AS f WHERE f.dataset = s.dataset) AS asked_in_vain,
    round(100.0 * count(*) / (SELECT count(*) FROM personas), 1) AS percent_covered
FROM served AS s
GROUP BY s.dataset
ORDER BY percent_covered, s.dataset;
