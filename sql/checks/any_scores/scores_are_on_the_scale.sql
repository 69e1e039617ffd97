-- Every score is from 1 to 5
SELECT batch, item_id, source_id, score
FROM {dataset}
WHERE NOT ({on_the_scale})
