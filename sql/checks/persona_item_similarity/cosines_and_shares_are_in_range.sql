-- Every bin has pairs, a mean cosine from -1 to 1, and a share from 0 to 1; the bins have as many pairs as the row of all
SELECT batch, dataset, persona_cosine, pairs, item_cosine, less_alike
FROM persona_item_similarity
WHERE pairs < 1 OR abs(item_cosine) > 1.000001 OR less_alike NOT BETWEEN 0 AND 1
UNION ALL
SELECT batch, dataset, NULL, sum(pairs) FILTER (persona_cosine IS NULL), NULL, NULL
FROM persona_item_similarity
GROUP BY batch, dataset
HAVING sum(pairs) FILTER (persona_cosine IS NULL) IS DISTINCT FROM sum(pairs) FILTER (persona_cosine IS NOT NULL)
