-- Every document id is unique in its batch
SELECT batch, document_id, count(*) AS times FROM documents GROUP BY ALL HAVING count(*) > 1
