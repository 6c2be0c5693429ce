-- What feedback knows of a loan, from `loan.approved`.
CREATE TABLE loan (
    loan_id             UUID PRIMARY KEY,
    enterprise_id       TEXT NOT NULL CHECK (length(enterprise_id) = 18),
    institution_id      TEXT NOT NULL,
    product_id          UUID NOT NULL,
    approved_at         TIMESTAMPTZ NOT NULL
);

-- Where an enterprise wants its messages.
CREATE TABLE contact (
    enterprise_id       TEXT PRIMARY KEY CHECK (length(enterprise_id) = 18),
    phone               TEXT NOT NULL CHECK (phone ~ '^1[3-9][0-9]{9}$'),
    updated_at          TIMESTAMPTZ NOT NULL
);

-- Invariant 3: exactly one rating SMS for an approved loan (UNIQUE loan_id).
CREATE TABLE sms (
    -- Also the key by which the provider knows the message.
    sms_id              UUID PRIMARY KEY,
    loan_id             UUID NOT NULL UNIQUE REFERENCES loan,
    enterprise_id       TEXT NOT NULL,
    text_zh             TEXT NOT NULL,
    state               TEXT NOT NULL CHECK (state IN ('waiting_contact', 'queued', 'sending', 'sent', 'failed', 'unknown')),
    attempts            INT NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    queued_at           TIMESTAMPTZ NOT NULL,
    -- When the sender looks at it next; for `sending`, when its claim runs out.
    due_at              TIMESTAMPTZ NOT NULL,
    sent_at             TIMESTAMPTZ,
    provider_message_id TEXT,
    last_error          TEXT,
    version             BIGINT NOT NULL CHECK (version > 0),
    CHECK ((state = 'sent') = (sent_at IS NOT NULL))
);
CREATE INDEX sms_due ON sms (due_at) WHERE state IN ('queued', 'sending', 'unknown');
CREATE INDEX sms_waiting ON sms (enterprise_id) WHERE state = 'waiting_contact';
CREATE INDEX sms_newest ON sms (queued_at, sms_id);

-- One rating a loan.
CREATE TABLE rating (
    rating_id           UUID PRIMARY KEY,
    loan_id             UUID NOT NULL CONSTRAINT rating_once_a_loan UNIQUE REFERENCES loan,
    enterprise_id       TEXT NOT NULL,
    institution_id      TEXT NOT NULL,
    product_id          UUID NOT NULL,
    level               SMALLINT NOT NULL CHECK (level BETWEEN 1 AND 5),
    comment_zh          TEXT NOT NULL CHECK (char_length(comment_zh) <= 500),
    received_at         TIMESTAMPTZ NOT NULL
);
CREATE INDEX rating_newest ON rating (received_at, rating_id);

-- Sum and number of all ratings of a product; its lock orders the facts about the product.
CREATE TABLE product_score (
    product_id          UUID PRIMARY KEY,
    level_sum           BIGINT NOT NULL,
    rating_count        BIGINT NOT NULL CHECK (rating_count >= 0),
    version             BIGINT NOT NULL CHECK (version >= 0),
    CHECK (level_sum BETWEEN rating_count AND 5 * rating_count)
);
