-- The view ids as tables, built with the warehouse and sorted, so that a look-up of one id does not read all ids
CREATE TEMP TABLE every_id AS
SELECT *, hash(kind, batch, asset, status, prompt, prompt_fingerprint, model) AS alike FROM ids;

-- Columns that many ids share are stored once: sorting ids with seven texts each takes five times as long.
CREATE TABLE places AS
SELECT row_number() OVER ()::INTEGER AS place, alike, kind, batch, asset, status, prompt, prompt_fingerprint, model
FROM (SELECT DISTINCT ON (alike) * FROM every_id);

CREATE TABLE sorted_ids AS
SELECT id, place FROM every_id JOIN places USING (alike) ORDER BY id;

ALTER TABLE places DROP COLUMN alike;
DROP TABLE every_id;

CREATE OR REPLACE VIEW ids AS
SELECT id, kind, batch, asset, status, prompt, prompt_fingerprint, model FROM sorted_ids JOIN places USING (place);

COMMENT ON TABLE places IS 'What the ids in sorted_ids stand for; ask the view ids';
COMMENT ON COLUMN places.place IS 'Number of this row';
COMMENT ON COLUMN places.kind IS 'document, persona, item or generation';
COMMENT ON COLUMN places.batch IS 'Batch that the ids are in';
COMMENT ON COLUMN places.asset IS 'Asset that made them';
COMMENT ON COLUMN places.status IS 'Of calls: accepted, rejected or superseded';
COMMENT ON COLUMN places.prompt IS 'Of calls: name of the prompt file';
COMMENT ON COLUMN places.prompt_fingerprint IS 'Of calls: hash of the prompt with its parameters and sampling';
COMMENT ON COLUMN places.model IS 'Of calls: model that answered';
COMMENT ON TABLE sorted_ids IS 'Every id in order; ask the view ids';
COMMENT ON COLUMN sorted_ids.id IS 'Id of a document, persona, item or call';
COMMENT ON COLUMN sorted_ids.place IS 'Row of places';
