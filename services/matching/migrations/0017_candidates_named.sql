-- Who was named as a product's candidate on a day and told of, each once; a consent says who and to whom. Rows of days past
-- are of no more use.
CREATE TABLE candidate_named (
    named_on        DATE NOT NULL,
    product_id      UUID NOT NULL,
    consent_id      UUID NOT NULL REFERENCES preapproval_consent,
    consent_version BIGINT NOT NULL,
    profile_version BIGINT NOT NULL,
    PRIMARY KEY (named_on, product_id, consent_id, consent_version, profile_version)
);
