-- Instructions with an answer that satisfies all of their constraints, as checked by a program
-- batch: Batch of the instruction
-- item_id: The instruction, in instructions
-- persona_id: Persona that the instruction was written for
-- instruction: The request with its constraints in plain English
-- answer: The first answer that satisfies all of them
-- constraints: Kind and parameters of each constraint
-- answer_id: The answer, in instruction_answers
-- text: The instruction as one readable text
-- generation_id: Call that wrote the instruction, in generations
-- items of: instructions
-- texts of: instruction_answers by answer_id
-- user says: {instruction}
-- assistant answers: {answer}
SELECT
    i.batch,
    i.item_id,
    i.persona_id,
    a.instruction,
    a.answer,
    a.constraints,
    a.item_id AS answer_id,
    i.text,
    i.generation_id
FROM instructions AS i
JOIN instruction_answers AS a ON a.batch = i.batch AND a.source_id = i.item_id
WHERE
    -- Null without constraints: nothing was checked.
    a.all_satisfied
    -- An instruction that was written anew since is not verified.
    AND a.source_hash = left(sha256(i.text), 16)
    -- An instruction that the view excluded_items has is not used either, nor an answer with a passage of a test set.
    AND NOT EXISTS (
        FROM excluded_items AS x
        WHERE x.batch = i.batch
            AND (x.item_id = i.item_id OR (x.item_id = a.item_id AND x.reason = 'contaminated'))
    )
QUALIFY row_number() OVER (PARTITION BY i.batch, i.item_id ORDER BY a.sample) = 1
