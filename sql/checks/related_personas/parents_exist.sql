-- Every related persona has its parent one hop before it in the same batch
-- severity: warn
SELECT child.batch, child.persona_id, child.parent_id, child.hop
FROM related_personas AS child
LEFT JOIN candidate_personas AS parent ON parent.persona_id = child.parent_id AND parent.batch = child.batch
WHERE parent.persona_id IS NULL OR parent.hop <> child.hop - 1
