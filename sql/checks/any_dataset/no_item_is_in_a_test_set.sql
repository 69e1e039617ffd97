-- No item matches a row of a test set in decontamination.files; those that do are not released
-- severity: warn
SELECT batch, item_id, test_file, test_row, method, similarity, passage
FROM contaminated
WHERE dataset = '{dataset}'
