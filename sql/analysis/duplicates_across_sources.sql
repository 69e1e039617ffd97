-- How many personas of one source are duplicates of personas of another, or of the same?
SELECT
    d.stage,
    dropped_of.source AS dropped_source,
    kept_of.source AS keeper_source,
    count(*) AS dropped,
    round(100.0 * count(*) / sum(count(*)) OVER (PARTITION BY d.stage, dropped_of.source), 1) AS percent_of_its_drops,
    round(avg(d.similarity), 4) AS mean_similarity
FROM duplicates AS d
JOIN candidate_personas AS keeper ON keeper.persona_id = d.keeper_id
JOIN batches AS dropped_of ON dropped_of.batch = d.batch
JOIN batches AS kept_of ON kept_of.batch = keeper.batch
GROUP BY d.stage, dropped_of.source, kept_of.source
ORDER BY d.stage, dropped DESC, dropped_source, keeper_source;
