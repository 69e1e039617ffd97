-- No two personas of the hub have the same text
SELECT persona, count(*) AS times FROM personas GROUP BY persona HAVING count(*) > 1
