-- How many personas have an item in no dataset, in one, in two, and so on?
WITH per_persona AS (
    SELECT p.persona_id, count(DISTINCT i.dataset) AS datasets
    FROM personas AS p
    LEFT JOIN dataset_items AS i USING (persona_id)
    GROUP BY p.persona_id
)
SELECT datasets, count(*) AS personas FROM per_persona GROUP BY datasets ORDER BY datasets;
