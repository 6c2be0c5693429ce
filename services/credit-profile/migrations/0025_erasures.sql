-- Enterprises whose past was erased, each with the last time: what happened until then and is told late stays out.
CREATE TABLE erasure (
    enterprise_id   TEXT PRIMARY KEY CHECK (length(enterprise_id) = 18),
    version         BIGINT NOT NULL CHECK (version > 0),
    erased_at       TIMESTAMPTZ NOT NULL,
    -- The profile that stood then; it goes when there is a newer one.
    profile_version BIGINT NOT NULL CHECK (profile_version >= 0)
);

-- Settled loans whose history was erased: of facts that come late only the bad ones are kept.
CREATE TABLE erased_loan (
    loan_id UUID PRIMARY KEY
);
