-- How many new personas does each hop give, and how many of its candidates survive?
SELECT
    origin,
    hop,
    count(*) AS candidates,
    count(*) FILTER (fate = 'kept') AS kept,
    round(100.0 * count(*) FILTER (fate = 'kept') / count(*), 1) AS kept_percent
FROM persona_fate
GROUP BY ALL
ORDER BY hop, origin;
