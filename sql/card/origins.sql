-- Personas of the release by where they come from and how many relations were followed
SELECT origin, hop, count(*) AS rows FROM personas GROUP BY ALL ORDER BY ALL
