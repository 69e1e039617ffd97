-- Every item was written for a persona of the hub
-- severity: warn
SELECT batch, item_id, persona_id FROM {dataset} ANTI JOIN personas USING (persona_id)
