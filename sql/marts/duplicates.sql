-- The view duplicates as a table, built with the warehouse, so that queries do not read the decisions
CREATE TABLE dropped AS SELECT * FROM duplicates;

CREATE OR REPLACE VIEW duplicates AS SELECT * FROM dropped;

COMMENT ON TABLE dropped IS 'What both dedup stages dropped; ask the view duplicates';
COMMENT ON COLUMN dropped.stage IS 'lexical or semantic';
COMMENT ON COLUMN dropped.batch IS 'Batch of the dropped persona';
COMMENT ON COLUMN dropped.persona_id IS 'The dropped persona';
COMMENT ON COLUMN dropped.keeper_id IS 'The persona that it was dropped for';
COMMENT ON COLUMN dropped.similarity IS 'Of the two';
COMMENT ON COLUMN dropped.admission IS 'Dedup run that first decided about it at this stage';
