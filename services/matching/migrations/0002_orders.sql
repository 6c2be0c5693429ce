-- Orders. The row is the lock of its aggregate; every change raises the version.
CREATE TABLE financing_order (
    order_id                UUID        NOT NULL PRIMARY KEY,
    version                 BIGINT      NOT NULL CHECK (version > 0),
    state                   TEXT        NOT NULL
        CHECK (state IN ('routed', 'accepted', 'approved', 'rejected', 'withdrawn', 'expired')),
    enterprise_id           TEXT        NOT NULL,
    enterprise_name         TEXT        NOT NULL,
    institution_id          TEXT        NOT NULL,
    -- The product as it was when the order was placed.
    product_id              UUID        NOT NULL,
    product_version         INT         NOT NULL CHECK (product_version > 0),
    product_name_zh         TEXT        NOT NULL,
    product_tags            TEXT[]      NOT NULL,
    min_term_months         INT         NOT NULL,
    max_term_months         INT         NOT NULL,
    -- What is asked for.
    amount_fen              BIGINT      NOT NULL CHECK (amount_fen > 0),
    term_months             INT         NOT NULL CHECK (term_months BETWEEN min_term_months AND max_term_months),
    purpose_zh              TEXT        NOT NULL,
    -- What the calculator gave.
    quote_limit_fen         BIGINT      NOT NULL,
    quote_rate_ppm          BIGINT      NOT NULL,
    quote_catalog_version   BIGINT      NOT NULL,
    quote_profile_version   BIGINT      NOT NULL,
    -- What the enterprise agreed to.
    consent_scopes          TEXT[]      NOT NULL CHECK (cardinality(consent_scopes) > 0 AND consent_scopes <@ ARRAY['score', 'features']),
    consent_text_version    TEXT        NOT NULL,
    consent_expires_on      DATE        NOT NULL,
    reason_zh               TEXT        NOT NULL,
    placed_at               TIMESTAMPTZ NOT NULL, -- also when the consent was given
    answer_due_on           DATE        NOT NULL,
    closed_at               TIMESTAMPTZ,
    loan_id                 UUID,
    -- Nobody is asked for more than the calculator gives.
    CHECK (amount_fen <= quote_limit_fen),
    -- A final state has its time, and only an approved order has a loan.
    CHECK ((closed_at IS NULL) = (state IN ('routed', 'accepted'))),
    CHECK ((loan_id IS NULL) = (state <> 'approved'))
) WITH (fillfactor = 80); -- room for updates in place
CREATE INDEX financing_order_of_enterprise ON financing_order (enterprise_id, placed_at DESC, order_id DESC);
CREATE INDEX financing_order_placed_at ON financing_order (placed_at DESC, order_id DESC);
CREATE INDEX financing_order_rejected_at ON financing_order (closed_at) WHERE state = 'rejected';
CREATE INDEX financing_order_due ON financing_order (answer_due_on) WHERE state = 'routed';

-- The part of the profile that the enterprise consented to hand over, as it was when the order was placed.
CREATE TABLE order_profile (
    order_id    UUID  NOT NULL PRIMARY KEY REFERENCES financing_order,
    profile     BYTEA NOT NULL -- zhirong.profile.v1.Profile
);

-- The head of an institution's inbox. Its row is locked until the entry commits, so that positions have no gap and appear in
-- order: who reads up to a position has missed nothing below it.
CREATE TABLE inbox (
    institution_id  TEXT   NOT NULL PRIMARY KEY,
    last_position   BIGINT NOT NULL CHECK (last_position > 0)
) WITH (fillfactor = 50);

-- Every version of every order of an institution, in order.
CREATE TABLE inbox_entry (
    institution_id  TEXT   NOT NULL,
    position        BIGINT NOT NULL CHECK (position > 0),
    order_id        UUID   NOT NULL REFERENCES financing_order,
    order_version   BIGINT NOT NULL,
    content         BYTEA  NOT NULL, -- zhirong.matching.v1.Order
    PRIMARY KEY (institution_id, position),
    -- Each change is told once.
    UNIQUE (order_id, order_version)
);

-- Loans. The row is the lock of its aggregate.
CREATE TABLE loan (
    loan_id             UUID        NOT NULL PRIMARY KEY,
    version             BIGINT      NOT NULL CHECK (version > 0),
    state               TEXT        NOT NULL CHECK (state IN ('approved', 'disbursed')),
    -- One order leads to one loan at most.
    order_id            UUID        NOT NULL UNIQUE REFERENCES financing_order,
    enterprise_id       TEXT        NOT NULL,
    institution_id      TEXT        NOT NULL,
    institution_name_zh TEXT        NOT NULL,
    product_id          UUID        NOT NULL,
    product_version     INT         NOT NULL,
    product_name_zh     TEXT        NOT NULL,
    product_tags        TEXT[]      NOT NULL,
    enterprise_class    TEXT        NOT NULL,
    amount_fen          BIGINT      NOT NULL CHECK (amount_fen > 0),
    rate_ppm            BIGINT      NOT NULL CHECK (rate_ppm BETWEEN 0 AND 360000),
    term_months         INT         NOT NULL CHECK (term_months > 0),
    bank_reference      TEXT        NOT NULL CHECK (bank_reference ~ '^[ -~]{1,64}$'),
    approved_at         TIMESTAMPTZ NOT NULL,
    disbursed_fen       BIGINT      CHECK (disbursed_fen > 0 AND disbursed_fen <= amount_fen),
    disbursed_on        DATE,
    matures_on          DATE,
    -- An institution names a loan once.
    CONSTRAINT loan_bank_reference UNIQUE (institution_id, bank_reference),
    -- What was paid out has amount, day and maturity; what was not has none.
    CHECK ((state = 'disbursed') = (disbursed_fen IS NOT NULL)),
    CHECK ((disbursed_fen IS NULL) = (disbursed_on IS NULL) AND (disbursed_fen IS NULL) = (matures_on IS NULL))
);
CREATE INDEX loan_approved_at ON loan (approved_at);
CREATE INDEX loan_disbursed_on ON loan (disbursed_on) WHERE disbursed_on IS NOT NULL;
