-- How many events of a delivery were refused is counted for each end of one.
CREATE INDEX dead_letter_of_delivery ON runtime.dead_letter (consumer, (headers ->> 'ce-delivery'));

-- The letters of records refused before payloads were no longer kept may name persons, too: the digest takes the payload's place.
UPDATE runtime.dead_letter
SET headers = headers || jsonb_build_object('payload-sha256', encode(sha256(payload), 'hex')), payload = ''
WHERE consumer = 'profile-records' AND NOT headers ? 'payload-sha256';
