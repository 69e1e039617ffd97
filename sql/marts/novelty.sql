-- The view novelty as a table, built with the warehouse, so that the page of the warehouse does not read the calls
CREATE TABLE new_per_hop AS SELECT * FROM novelty;

CREATE OR REPLACE VIEW novelty AS SELECT * FROM new_per_hop;

COMMENT ON TABLE new_per_hop IS 'New personas per 1,000 calls; ask the view novelty';
COMMENT ON COLUMN new_per_hop.batch IS 'Batch of the candidates';
COMMENT ON COLUMN new_per_hop.hop IS 'Relations followed from the document';
COMMENT ON COLUMN new_per_hop.calls IS 'Calls whose answers are in use or rejected';
COMMENT ON COLUMN new_per_hop.candidates IS 'Personas in the accepted answers';
COMMENT ON COLUMN new_per_hop.personas IS 'Candidates that were kept';
COMMENT ON COLUMN new_per_hop.new_per_1000_calls IS 'personas by calls';
