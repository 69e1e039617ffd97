-- No two personas of the hub have the same text
SELECT persona, count(*) AS times
FROM personas
-- A persona dropped since is removed at the next run of its batch; follows_the_decisions warns of it.
ANTI JOIN lexical_duplicates AS dropped USING (persona_id)
GROUP BY persona
HAVING count(*) > 1
