-- Questions that the calculator has answered, each once, with all that the answer comes from: so that an answer of the past is found,
-- computed again, and compared.
CREATE TABLE calculation_kept (
    calculation_id  UUID PRIMARY KEY,
    enterprise_id   TEXT NOT NULL,
    -- zhirong.matching.v1.RecalculateRequest, and its SHA-256: the same question has the same answer.
    question        BYTEA NOT NULL,
    question_sha256 BYTEA NOT NULL UNIQUE CHECK (length(question_sha256) = 32),
    answer_sha256   BYTEA NOT NULL CHECK (length(answer_sha256) = 32),
    profile_version BIGINT NOT NULL,
    -- The first time.
    answered_at     TIMESTAMPTZ NOT NULL
);
CREATE INDEX calculation_kept_enterprise ON calculation_kept (enterprise_id, calculation_id);

-- What each version of a pre-approval rests on. Those before this migration are not known.
CREATE TABLE preapproval_version (
    enterprise_id   TEXT NOT NULL,
    version         BIGINT NOT NULL,
    profile_version BIGINT NOT NULL,
    catalog_version BIGINT NOT NULL,
    computed_at     TIMESTAMPTZ NOT NULL,
    -- SHA-256 of the zhirong.matching.v1.Preapproval.
    content_sha256  BYTEA NOT NULL CHECK (length(content_sha256) = 32),
    PRIMARY KEY (enterprise_id, version)
);
