-- Every dropped candidate of both dedup stages with the persona it was dropped for
SELECT 'lexical' AS stage, * FROM lexical_duplicates
UNION ALL
SELECT 'semantic' AS stage, * FROM semantic_duplicates
