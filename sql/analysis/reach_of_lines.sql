-- How many hops do lines reach in the hub, and how many personas do lines of each length have?
WITH lines AS (
    SELECT root_id, max(hop) AS reach, count(*) AS personas FROM personas GROUP BY root_id
)
SELECT
    reach,
    count(*) AS roots,
    round(100.0 * count(*) / sum(count(*)) OVER (), 1) AS percent_of_roots,
    sum(personas) AS personas,
    round(avg(personas), 2) AS personas_per_root
FROM lines
GROUP BY reach
ORDER BY reach;
