-- template: agreement
COMMENT ON TABLE reasoning_agreement IS 'The answers of several solvers to each reasoning problem, compared';
COMMENT ON COLUMN reasoning_agreement.source_id IS 'The problem, in reasoning_problems';
COMMENT ON COLUMN reasoning_agreement.solution_id IS 'A solution with this answer, in reasoning_solutions: the first one';
