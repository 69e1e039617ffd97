-- Every item id is unique, and so is every sample of a persona or an item
SELECT {input}, sample, count(*) AS times FROM {dataset} GROUP BY ALL HAVING count(*) > 1
