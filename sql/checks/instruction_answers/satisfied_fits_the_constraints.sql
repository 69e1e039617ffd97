-- Every answer has one result for each constraint, and their conjunction in all_satisfied
SELECT batch, item_id, constraints, satisfied, all_satisfied
FROM instruction_answers
WHERE
    len(satisfied) <> len(constraints)
    OR all_satisfied IS DISTINCT FROM CASE WHEN len(constraints) > 0 THEN NOT list_contains(satisfied, false) END
