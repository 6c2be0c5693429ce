-- Whom an enterprise lets offer it credit is what its consents say that the profile service keeps; the second kind of consent
-- goes.
DROP TABLE offer_consent;

-- Consents to offer credit before anybody asks (PURPOSE_PREAPPROVAL), as the profile service says.
CREATE TABLE preapproval_consent (
    consent_id     UUID PRIMARY KEY,
    version        BIGINT NOT NULL CHECK (version > 0),
    enterprise_id  TEXT NOT NULL CHECK (length(enterprise_id) = 18),
    institution_id TEXT NOT NULL,
    -- Whether the score is in its scope.
    score          BOOLEAN NOT NULL,
    expires_at     TIMESTAMPTZ NOT NULL,
    revoked        BOOLEAN NOT NULL
);
CREATE INDEX preapproval_consent_live ON preapproval_consent (institution_id, expires_at) WHERE score AND NOT revoked;
