-- Why are inputs in quarantine?
SELECT asset, reason, count(*) AS inputs, min(detail) AS for_example
FROM quarantine
GROUP BY ALL
ORDER BY inputs DESC, asset, reason;
