-- All candidates, before dedup: personas from text, imported ones and related ones
SELECT * FROM text_personas
UNION ALL
SELECT * FROM related_personas
