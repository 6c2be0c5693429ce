-- Who may see what: consents, what was released by them, the codes that stand for them, and the chain that records all of it.

CREATE TABLE consent (
    consent_id     UUID PRIMARY KEY,
    enterprise_id  TEXT NOT NULL CHECK (length(enterprise_id) = 18),
    institution_id TEXT NOT NULL,
    -- zhirong.profile.v1.Purpose.
    purpose        INTEGER NOT NULL CHECK (purpose > 0),
    -- zhirong.profile.v1.Scope.
    scope          BYTEA NOT NULL,
    expires_at     TIMESTAMPTZ NOT NULL,
    revoked        BOOLEAN NOT NULL DEFAULT false,
    version        BIGINT NOT NULL CHECK (version > 0),
    granted_at     TIMESTAMPTZ NOT NULL,
    changed_at     TIMESTAMPTZ NOT NULL
);
CREATE INDEX consent_live ON consent (enterprise_id, institution_id, purpose, expires_at) WHERE NOT revoked;
CREATE INDEX consent_enterprise ON consent (enterprise_id, consent_id);
CREATE INDEX consent_institution ON consent (institution_id, consent_id);

-- The versions of profiles that were released: what a release is rebuilt from. The content is emptied when it is erased.
CREATE TABLE released_profile (
    enterprise_id TEXT NOT NULL,
    version       BIGINT NOT NULL CHECK (version > 0),
    content       BYTEA NOT NULL,
    PRIMARY KEY (enterprise_id, version)
);

CREATE TABLE release (
    release_id      UUID PRIMARY KEY,
    consent_id      UUID NOT NULL REFERENCES consent,
    enterprise_id   TEXT NOT NULL,
    institution_id  TEXT NOT NULL,
    purpose         INTEGER NOT NULL,
    scope           BYTEA NOT NULL,
    profile_version BIGINT NOT NULL,
    -- The disputed records of that moment: a zhirong.profile.v1.Release with these alone.
    disputed        BYTEA NOT NULL,
    released_at     TIMESTAMPTZ NOT NULL,
    content_sha256  BYTEA NOT NULL CHECK (length(content_sha256) = 32),
    FOREIGN KEY (enterprise_id, profile_version) REFERENCES released_profile (enterprise_id, version)
);

CREATE TABLE enterprise_code (
    code_id         UUID PRIMARY KEY,
    consent_id      UUID NOT NULL REFERENCES consent,
    expires_at      TIMESTAMPTZ NOT NULL,
    -- By which request it was used; a code is used once.
    used_by         TEXT,
    used_request_id UUID,
    CHECK ((used_by IS NULL) = (used_request_id IS NULL))
);
CREATE INDEX enterprise_code_expiry ON enterprise_code (expires_at);

-- The audit trail: append-only, each entry chained to the one before by hash = sha256(previous hash || content).
CREATE TABLE audit_entry (
    sequence      BIGINT PRIMARY KEY CHECK (sequence > 0),
    -- Whose data; empty when nobody was named.
    enterprise_id TEXT NOT NULL,
    -- zhirong.profile.v1.AuditEntry, as it was hashed.
    content       BYTEA NOT NULL,
    hash          BYTEA NOT NULL CHECK (length(hash) = 32),
    -- Over the hash, by the key outside of the database.
    signature     BYTEA NOT NULL CHECK (length(signature) = 64)
);
CREATE INDEX audit_entry_enterprise ON audit_entry (enterprise_id, sequence);

-- The end of the chain: its lock puts the entries in order.
CREATE TABLE audit_head (
    one      BOOLEAN PRIMARY KEY CHECK (one),
    sequence BIGINT NOT NULL CHECK (sequence >= 0),
    hash     BYTEA NOT NULL CHECK (length(hash) = 32)
);
INSERT INTO audit_head VALUES (true, 0, decode(repeat('00', 32), 'hex'));

CREATE TABLE audit_checkpoint (
    sequence   BIGINT PRIMARY KEY CHECK (sequence > 0),
    hash       BYTEA NOT NULL CHECK (length(hash) = 32),
    at         TIMESTAMPTZ NOT NULL,
    public_key BYTEA NOT NULL CHECK (length(public_key) = 32),
    signature  BYTEA NOT NULL CHECK (length(signature) = 64)
);

CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is append-only: % on % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entry
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_checkpoint
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();

-- Objections (异议) against records.
CREATE TABLE objection (
    objection_id  UUID PRIMARY KEY,
    enterprise_id TEXT NOT NULL CHECK (length(enterprise_id) = 18),
    source        TEXT NOT NULL,
    category      TEXT NOT NULL,
    record_id     TEXT NOT NULL,
    -- Why, in the enterprise's words.
    statement     TEXT NOT NULL,
    -- zhirong.profile.v1.ObjectionState.
    state         INTEGER NOT NULL CHECK (state > 0),
    raised_at     TIMESTAMPTZ NOT NULL,
    -- The last day of the clock, Asia/Shanghai.
    due_on        DATE NOT NULL,
    decided_at    TIMESTAMPTZ,
    answer        TEXT NOT NULL DEFAULT ''
);
-- A record is disputed once at a time.
CREATE UNIQUE INDEX objection_open ON objection (source, category, record_id) WHERE state = 1;
CREATE INDEX objection_enterprise ON objection (enterprise_id, objection_id);
CREATE INDEX objection_due ON objection (due_on) WHERE state = 1;
