-- Every item has the accepted call that produced it
SELECT i.batch, i.item_id, i.generation_id
FROM {dataset} AS i
ANTI JOIN (SELECT * FROM generations WHERE asset = '{dataset}' AND status = 'accepted') AS g USING (generation_id)
