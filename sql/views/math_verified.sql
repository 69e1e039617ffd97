-- Math problems on whose answer enough solvers agree, with that answer and one of the solutions
-- batch: Batch of the problem
-- item_id: The problem, in math_problems
-- persona_id: Persona that the problem was written for
-- topic: Field of mathematics the problem draws on
-- difficulty: Difficulty that hub.toml asked for; null without
-- problem: The full problem statement
-- solution: A solution with the agreed answer: the first one in sentences, else the first
-- answer: Answer that they agree on
-- votes: Solutions with this answer
-- solutions: Solutions that were asked for
-- share: votes by solutions
-- solution_id: That solution, in math_solutions
-- text: The problem as one readable text
-- generation_id: Call that wrote the problem, in generations
-- items of: math_problems
-- texts of: math_solutions by solution_id
-- user says: {problem}
-- assistant answers: {solution}\n\nFinal answer: {answer}
SELECT
    p.batch, p.item_id, p.persona_id, p.topic, p.difficulty, p.problem, s.solution, a.answer, a.votes, a.solutions, a.share,
    a.solution_id, p.text, p.generation_id
FROM math_problems AS p
JOIN math_agreement AS a ON a.batch = p.batch AND a.source_id = p.item_id
LEFT JOIN math_solutions AS s ON s.batch = a.batch AND s.item_id = a.solution_id
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
