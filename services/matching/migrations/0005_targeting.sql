-- An enterprise's word on whether an institution may see it among the candidates of a product.
CREATE TABLE offer_consent (
    enterprise_id   TEXT NOT NULL CHECK (length(enterprise_id) = 18),
    -- '' stands for every institution.
    institution_id  TEXT NOT NULL,
    version         BIGINT NOT NULL CHECK (version > 0),
    -- The last day on which it holds; NULL once it is taken back.
    expires_on      DATE,
    text_version    TEXT NOT NULL,
    changed_at      TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (enterprise_id, institution_id)
);
CREATE INDEX offer_consent_of_institution ON offer_consent (institution_id, expires_on);
