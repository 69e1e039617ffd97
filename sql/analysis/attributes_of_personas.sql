-- Which attributes do imported personas have, how often, and with which commonest value?
-- The personas of one domain, or with one label:
--     SELECT persona FROM personas WHERE attributes ->> 'general domain (top 1 percent)' = 'Medicine'
--     SELECT persona FROM personas WHERE list_contains(attributes ->> '$.labels[*]', 'Education')
WITH told AS (
    SELECT p.persona_id, field.key AS attribute, field.value
    FROM personas AS p, json_each(p.attributes) AS field
    WHERE p.attributes IS NOT NULL
),
-- Each element of a list counts.
counted AS (
    SELECT persona_id, attribute, unnest(
        CASE json_type(value) WHEN 'ARRAY' THEN json_extract_string(value, '$[*]') ELSE [value ->> '$'] END
    ) AS value
    FROM told
),
by_value AS (
    SELECT attribute, value, count(*) AS times FROM counted GROUP BY ALL
),
by_attribute AS (
    SELECT attribute, count(*) AS personas FROM told GROUP BY attribute
)
SELECT
    a.attribute,
    a.personas,
    count(v.value) AS distinct_values,
    arg_max(v.value, (v.times, v.value)) AS commonest_value,
    max(v.times) AS of_the_commonest
FROM by_attribute AS a
LEFT JOIN by_value AS v USING (attribute)
GROUP BY ALL
ORDER BY personas DESC, attribute
LIMIT 50
