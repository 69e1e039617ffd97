-- The view item_duplicates as a table, built with the warehouse, so that queries do not read the decisions
CREATE TABLE dropped_items AS SELECT * FROM item_duplicates;

CREATE OR REPLACE VIEW item_duplicates AS SELECT * FROM dropped_items;

COMMENT ON TABLE dropped_items IS 'Items that both dedup stages dropped; ask the view item_duplicates';
COMMENT ON COLUMN dropped_items.dataset IS 'Dataset of the items';
COMMENT ON COLUMN dropped_items.stage IS 'lexical or semantic';
COMMENT ON COLUMN dropped_items.batch IS 'Batch of the dropped item';
COMMENT ON COLUMN dropped_items.item_id IS 'The dropped item';
COMMENT ON COLUMN dropped_items.keeper_id IS 'The item that it was dropped for';
COMMENT ON COLUMN dropped_items.similarity IS 'Of the two';
COMMENT ON COLUMN dropped_items.admission IS 'Dedup run that first decided about it at this stage';
