-- A document id occurs once in its batch
SELECT batch, document_id, count(*) AS times FROM documents GROUP BY ALL HAVING count(*) > 1
