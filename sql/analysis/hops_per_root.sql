-- How many hops do the personas of a root reach in the hub, and how many personas do such roots give?
WITH by_root AS (
    SELECT root_id, max(hop) AS hops, count(*) AS personas FROM personas GROUP BY root_id
)
SELECT
    hops,
    count(*) AS roots,
    round(100.0 * count(*) / sum(count(*)) OVER (), 1) AS percent_of_roots,
    sum(personas) AS personas,
    round(avg(personas), 2) AS personas_per_root
FROM by_root
GROUP BY hops
ORDER BY hops;
