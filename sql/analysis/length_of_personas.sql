-- How long are the personas of the hub, in words?
WITH lengths AS (
    SELECT origin, hop, len(string_split(persona, ' ')) AS words FROM personas
)
SELECT
    origin,
    hop,
    count(*) AS personas,
    min(words) AS shortest,
    quantile_disc(words, 0.25) AS quarter_up_to,
    quantile_disc(words, 0.5) AS half_up_to,
    quantile_disc(words, 0.75) AS three_quarters_up_to,
    max(words) AS longest
FROM lengths
GROUP BY origin, hop
ORDER BY hop, origin;
