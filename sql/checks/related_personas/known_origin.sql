-- The root of every related persona is a document or an imported persona
-- severity: warn
SELECT r.batch, r.persona_id, r.root_id FROM related_personas AS r
ANTI JOIN text_personas AS root ON root.persona_id = r.root_id
