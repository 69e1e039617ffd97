-- No message of a dialogue is empty
SELECT batch, item_id, [place + 1 FOR place IN range(len(messages)) IF trim(messages[place + 1].content) = ''] AS empty
FROM dialogues
WHERE len(empty) > 0
