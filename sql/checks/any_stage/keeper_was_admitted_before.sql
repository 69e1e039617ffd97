-- A keeper was admitted no later than the persona dropped for it
SELECT d.batch, d.persona_id, d.admission, k.admission AS keeper_admission
FROM decisions AS d
JOIN decisions AS k ON k.stage = d.stage AND k.persona_id = d.keeper_id
WHERE d.stage = '{stage}' AND k.admission > d.admission
