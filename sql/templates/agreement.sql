CREATE TABLE {table} (
    batch VARCHAR NOT NULL,
    source_id VARCHAR NOT NULL,
    source_hash VARCHAR NOT NULL,
    persona_id VARCHAR NOT NULL,
    answer VARCHAR,
    votes INTEGER NOT NULL,
    answered INTEGER NOT NULL,
    solutions INTEGER NOT NULL,
    share DOUBLE NOT NULL,
    verified BOOLEAN NOT NULL,
    solution_id VARCHAR,
    "groups" STRUCT(answer VARCHAR, votes INTEGER, samples INTEGER[])[] NOT NULL,
    compared STRUCT("left" INTEGER, "right" INTEGER, outcome VARCHAR, rule VARCHAR)[] NOT NULL,
    undecided INTEGER NOT NULL,
    judged INTEGER NOT NULL
);
COMMENT ON COLUMN {table}.batch IS 'Batch of the problem';
COMMENT ON COLUMN {table}.source_id IS 'The problem';
COMMENT ON COLUMN {table}.source_hash IS 'First 16 digits of the SHA-256 of its text when it was solved';
COMMENT ON COLUMN {table}.persona_id IS 'Persona that the problem was written for';
COMMENT ON COLUMN {table}.answer IS 'Answer of the largest group; null if no two solutions agree, or two groups are the largest';
COMMENT ON COLUMN {table}.votes IS 'Solutions in the largest group';
COMMENT ON COLUMN {table}.answered IS 'Solutions with a final answer';
COMMENT ON COLUMN {table}.solutions IS 'Solutions that were asked for';
COMMENT ON COLUMN {table}.share IS 'votes by solutions';
COMMENT ON COLUMN {table}.verified IS 'Whether two or more agree, and at least verification.min_share of all';
COMMENT ON COLUMN {table}.solution_id IS 'A solution with this answer: the first one in sentences, else the first';
COMMENT ON COLUMN {table}.groups IS 'Equal answers, the largest group first, with the samples of their solutions';
COMMENT ON COLUMN {table}.compared IS 'Each pair of samples with its outcome (equal, different or undecided) and the rule that decided it';
COMMENT ON COLUMN {table}.undecided IS 'Pairs that no rule decided; they count as different';
COMMENT ON COLUMN {table}.judged IS 'Pairs that the judge decided';
