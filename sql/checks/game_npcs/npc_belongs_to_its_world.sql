-- Every character belongs to its world: it names something of it, and nothing that does not exist there
-- severity: warn
SELECT batch, item_id, world, misfit
FROM game_npcs
WHERE misfit IS NOT NULL
