-- No document is empty or holds characters that cannot be stored
SELECT batch, document_id FROM documents WHERE trim(text) = '' OR contains(text, chr(0))
