-- A keeper was admitted no later than the persona dropped for it
SELECT d.batch, d.persona_id, d.admission, k.admission AS keeper_admission
FROM {stage}_decisions AS d
JOIN {stage}_decisions AS k ON k.persona_id = d.keeper_id
WHERE k.admission > d.admission
