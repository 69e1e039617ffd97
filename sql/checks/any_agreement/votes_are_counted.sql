-- Votes are those of the groups, no more than the answers, and no more answers than solutions
SELECT batch, source_id, votes, answered, solutions, verified
FROM {asset}
WHERE answered > solutions
    OR votes <> coalesce(list_max([g.votes FOR g IN "groups"]), 0)
    OR answered <> coalesce(list_sum([g.votes FOR g IN "groups"]), 0)
    OR (verified AND (answer IS NULL OR votes < 2))
