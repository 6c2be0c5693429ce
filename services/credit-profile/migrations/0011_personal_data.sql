-- Who represents an enterprise: every field is sealed with a data key of this row alone, which is sealed with a master key that
-- the database never sees.
CREATE TABLE legal_representative (
    enterprise_id TEXT PRIMARY KEY CHECK (length(enterprise_id) = 18),
    -- Which master key sealed the data key.
    key_version   INTEGER NOT NULL CHECK (key_version > 0),
    data_key      BYTEA NOT NULL,
    name          BYTEA NOT NULL,
    id_number     BYTEA NOT NULL,
    phone         BYTEA NOT NULL,
    -- HMAC-SHA-256 of the phone by a key that the database never sees: finds equal numbers and nothing else.
    phone_index   BYTEA NOT NULL CHECK (length(phone_index) = 32),
    changed_at    TIMESTAMPTZ NOT NULL
);
CREATE INDEX legal_representative_phone ON legal_representative (phone_index);
CREATE INDEX legal_representative_key ON legal_representative (key_version);
