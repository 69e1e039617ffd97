-- What is in each batch?
SELECT
    b.batch,
    b.rows AS source_rows,
    (SELECT count(*) FROM documents AS d WHERE d.batch = b.batch) AS documents,
    (SELECT count(*) FROM candidate_personas AS c WHERE c.batch = b.batch) AS candidates,
    (SELECT count(*) FROM personas AS p WHERE p.batch = b.batch) AS personas,
    (SELECT count(*) FROM dataset_items AS i WHERE i.batch = b.batch) AS items,
    (SELECT count(*) FROM quarantine AS q WHERE q.batch = b.batch) AS quarantined
FROM batches AS b
ORDER BY b.registered_at, b.batch;
