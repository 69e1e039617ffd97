-- Which documents have the most personas in the hub?
SELECT p.batch, p.document_id, count(*) AS personas, max(p.hop) AS furthest_hop, left(any_value(d.text), 80) AS text_begins
FROM personas AS p
JOIN documents AS d ON d.batch = p.batch AND d.document_id = p.document_id
GROUP BY p.batch, p.document_id
ORDER BY personas DESC, p.batch, p.document_id
LIMIT 20;
