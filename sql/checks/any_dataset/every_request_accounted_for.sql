-- Every call has an item or a quarantine row
WITH calls AS (
    SELECT batch, input_id, count(*) AS asked FROM generations
    WHERE asset = '{dataset}' AND status <> 'superseded'
    GROUP BY ALL
),
items AS (SELECT batch, {input} AS input_id, count(*) AS items FROM {dataset} GROUP BY ALL),
faults AS (SELECT batch, input_id, count(*) AS faults FROM quarantine WHERE asset = '{dataset}' GROUP BY ALL)
SELECT c.batch, c.input_id, c.asked, coalesce(i.items, 0) AS items, coalesce(f.faults, 0) AS faults
FROM calls AS c
LEFT JOIN items AS i USING (batch, input_id)
LEFT JOIN faults AS f USING (batch, input_id)
WHERE c.asked <> coalesce(i.items, 0) + coalesce(f.faults, 0)
