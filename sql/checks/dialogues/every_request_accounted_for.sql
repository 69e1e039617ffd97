-- Every dialogue with a call is complete, or in quarantine with its turn
WITH asked AS (
    -- The sample of a call is 40 times the number of the dialogue, and the number of the message.
    SELECT batch, input_id, count(DISTINCT sample // 40) AS asked FROM generations
    WHERE asset = 'dialogues' AND status <> 'superseded'
    GROUP BY ALL
),
items AS (SELECT batch, persona_id AS input_id, count(*) AS items FROM dialogues GROUP BY ALL),
faults AS (SELECT batch, input_id, count(*) AS faults FROM quarantine WHERE asset = 'dialogues' GROUP BY ALL)
SELECT a.batch, a.input_id, a.asked, coalesce(i.items, 0) AS items, coalesce(f.faults, 0) AS faults
FROM asked AS a
LEFT JOIN items AS i USING (batch, input_id)
LEFT JOIN faults AS f USING (batch, input_id)
WHERE a.asked <> coalesce(i.items, 0) + coalesce(f.faults, 0)
