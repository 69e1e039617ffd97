-- Which inputs took longest, and why: queue, network, or several attempts?
SELECT
    asset,
    input_id,
    model,
    round(latency_s, 2) AS seconds,
    round(queue_s, 2) AS queued_s,
    round(flight_s, 2) AS on_the_wire_s,
    attempts,
    completion_tokens,
    status,
    batch
FROM generations
WHERE NOT reused
ORDER BY latency_s DESC, generation_id
LIMIT 20;
