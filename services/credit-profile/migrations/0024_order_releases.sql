-- What went out with orders, so that it can be rebuilt like any release; nothing for what was withheld.
ALTER TABLE order_disclosure
    ADD COLUMN enterprise_id   TEXT,
    ADD COLUMN profile_version BIGINT,
    ADD COLUMN disclosed_at    TIMESTAMPTZ,
    -- zhirong.matching.v1.Disclosure.
    ADD COLUMN content         BYTEA,
    ADD CHECK (num_nulls(enterprise_id, profile_version, disclosed_at, content) IN (0, 4)),
    ADD FOREIGN KEY (enterprise_id, profile_version) REFERENCES released_profile (enterprise_id, version);
CREATE INDEX order_disclosure_version ON order_disclosure (enterprise_id, profile_version);
