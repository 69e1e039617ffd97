-- A keeper was admitted no later than the persona dropped for it
SELECT d.batch, d.stage, d.persona_id, d.admission, k.admission AS keeper_admission
FROM changed_decisions AS d
JOIN decisions AS k ON k.persona_id = d.keeper_id AND k.stage = d.stage
WHERE k.admission > d.admission
ORDER BY d.batch, d.stage, d.persona_id
