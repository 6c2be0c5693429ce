-- Better terms of a product for a set of enterprises, for some time.
CREATE TABLE adjustment (
    adjustment_id       UUID PRIMARY KEY,
    product_id          UUID NOT NULL REFERENCES product,
    institution_id      TEXT NOT NULL,
    enterprise_tag      TEXT NOT NULL,
    name_zh             TEXT NOT NULL,
    rate_cut_ppm        BIGINT NOT NULL CHECK (rate_cut_ppm >= 0),
    limit_factor_ppm    BIGINT CHECK (limit_factor_ppm > 1000000),
    limit_extra_fen     BIGINT CHECK (limit_extra_fen > 0),
    answer_working_days INT NOT NULL CHECK (answer_working_days >= 0),
    first_on            DATE NOT NULL,
    last_on             DATE NOT NULL,
    state               TEXT NOT NULL CHECK (state IN ('draft', 'approved', 'sent_back', 'ended')),
    drafted_by          TEXT NOT NULL,
    drafted_at          TIMESTAMPTZ NOT NULL,
    reviewed_by         TEXT,
    reviewed_at         TIMESTAMPTZ,
    reason              TEXT NOT NULL,
    CHECK (last_on >= first_on),
    CHECK (limit_factor_ppm IS NULL OR limit_extra_fen IS NULL),
    -- Nobody reviews what they wrote themselves.
    CONSTRAINT adjustment_reviewed_by_another CHECK (reviewed_by <> drafted_by),
    CHECK ((state = 'draft') = (reviewed_by IS NULL)),
    CHECK ((reviewed_by IS NULL) = (reviewed_at IS NULL))
);
CREATE INDEX adjustment_of_product ON adjustment (product_id);

-- Strategic agreements: what institutions intend to lend. Not money.
CREATE TABLE agreement (
    agreement_id    UUID PRIMARY KEY,
    institution_id  TEXT NOT NULL REFERENCES institution,
    name_zh         TEXT NOT NULL,
    intent_fen      BIGINT NOT NULL CHECK (intent_fen > 0),
    signed_on       DATE NOT NULL,
    ends_on         DATE NOT NULL CHECK (ends_on >= signed_on),
    registered_by   TEXT NOT NULL,
    registered_at   TIMESTAMPTZ NOT NULL,
    ended_on        DATE,
    ended_by        TEXT,
    ended_reason    TEXT NOT NULL DEFAULT '',
    CHECK ((ended_on IS NULL) = (ended_by IS NULL))
);
CREATE INDEX agreement_of_institution ON agreement (institution_id);
