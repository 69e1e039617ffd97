-- Personas of the release by origin and hop
SELECT origin, hop, count(*) AS rows FROM personas GROUP BY ALL ORDER BY ALL
