-- The phone is sealed with a data key of its row alone, which is sealed with a master key that the database never sees. Rows of
-- before are sealed by the service, a few at a time: until then they have `phone` and none of the others.
ALTER TABLE contact ALTER COLUMN phone DROP NOT NULL;
ALTER TABLE contact
    -- Which master key sealed the data key.
    ADD COLUMN key_version  INTEGER CHECK (key_version > 0),
    ADD COLUMN data_key     BYTEA,
    ADD COLUMN sealed_phone BYTEA,
    ADD CONSTRAINT contact_has_one_phone CHECK (num_nonnulls(phone, sealed_phone) = 1),
    ADD CONSTRAINT contact_is_sealed_whole CHECK (num_nonnulls(key_version, data_key, sealed_phone) IN (0, 3));

-- The log of requests kept an unkeyed hash of each phone, which could be guessed at. Whoever repeats such a request from before is
-- refused, as if it were another one.
UPDATE runtime.request_log SET request_hash = decode(repeat('00', 32), 'hex'), response = ''
WHERE method = '/zhirong.feedback.v1.ContactService/SetContact';

-- The last erasure of each enterprise, so that one that is told twice takes nothing that came between.
CREATE TABLE erasure (
    enterprise_id TEXT PRIMARY KEY CHECK (length(enterprise_id) = 18),
    -- How often the enterprise was erased until then.
    version       BIGINT NOT NULL CHECK (version > 0),
    -- What was there until then is erased.
    erased_at     TIMESTAMPTZ NOT NULL
);

-- A rating of before its enterprise's erasure has no words and is shown to nobody; it counts on.
ALTER TABLE rating
    ADD COLUMN erased_at TIMESTAMPTZ,
    ADD CONSTRAINT rating_erased_has_no_words CHECK (erased_at IS NULL OR comment_zh = '');
CREATE INDEX rating_of_enterprise ON rating (enterprise_id);
