-- No two personas of the hub have the same text
SELECT persona, count(*) AS times
FROM personas
-- One that is dropped since leaves when its batch is run again: follows_the_decisions warns of it.
ANTI JOIN lexical_duplicates AS dropped USING (persona_id)
GROUP BY persona
HAVING count(*) > 1
