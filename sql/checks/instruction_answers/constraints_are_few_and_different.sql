-- An instruction has at most three constraints, each of another kind
SELECT batch, item_id, source_id, constraints
FROM instruction_answers
WHERE
    len(constraints) > 3
    OR len(list_distinct(list_transform(constraints, lambda each: each.kind))) <> len(constraints)
