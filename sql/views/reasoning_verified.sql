-- Reasoning problems on whose answer enough solvers agree, with that answer and one of the solutions
-- batch: Batch of the problem
-- item_id: The problem, in reasoning_problems
-- persona_id: Persona that the problem was written for
-- kind: What the puzzle demands: logical, spatial or trick
-- problem: The full puzzle
-- solution: A solution with the agreed answer: the first one
-- answer: Answer that they agree on
-- votes: Solutions with this answer
-- solutions: Solutions that were asked for
-- share: votes by solutions
-- solution_id: That solution, in reasoning_solutions
-- text: The problem as one readable text
-- generation_id: Call that wrote the problem, in generations
-- items of: reasoning_problems
-- texts of: reasoning_solutions by solution_id
-- user says: {problem}
-- assistant answers: {solution}\n\nFinal answer: {answer}
SELECT
    p.batch, p.item_id, p.persona_id, p.kind, p.problem, s.solution, a.answer, a.votes, a.solutions, a.share,
    a.solution_id, p.text, p.generation_id
FROM reasoning_problems AS p
JOIN reasoning_agreement AS a ON a.batch = p.batch AND a.source_id = p.item_id
LEFT JOIN reasoning_solutions AS s ON s.batch = a.batch AND s.item_id = a.solution_id
WHERE
    a.verified
    -- A problem that was written anew since is not verified.
    AND left(sha256(p.text), 16) = a.source_hash
    -- A problem that the view excluded_items has is not used either, nor a solution with a passage of a test set.
    AND NOT EXISTS (
        FROM excluded_items AS x
        WHERE x.batch = p.batch
            AND (x.item_id = p.item_id OR (x.item_id = a.solution_id AND x.reason = 'contaminated'))
    )
