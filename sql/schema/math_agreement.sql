-- template: agreement
COMMENT ON TABLE math_agreement IS 'The answers of several solvers to each math problem, compared';
COMMENT ON COLUMN math_agreement.source_id IS 'The problem, in math_problems';
COMMENT ON COLUMN math_agreement.solution_id IS 'A solution with this answer, in math_solutions: the first one in sentences, else the first';
