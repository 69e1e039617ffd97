-- Every document has personas or a quarantine row
-- severity: warn
SELECT d.batch, d.document_id
FROM documents AS d
SEMI JOIN text_personas AS done ON done.batch = d.batch
ANTI JOIN text_personas AS p ON p.batch = d.batch AND p.document_id = d.document_id
ANTI JOIN (SELECT * FROM quarantine WHERE asset = 'text_personas') AS q ON q.batch = d.batch AND q.input_id = d.document_id
