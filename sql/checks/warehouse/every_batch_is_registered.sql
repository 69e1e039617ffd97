-- No table holds rows of a batch that is not registered
SELECT DISTINCT batch FROM used_batches WHERE batch NOT IN (SELECT batch FROM batches) ORDER BY batch
