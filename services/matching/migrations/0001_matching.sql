-- Read models: what matching keeps of the other contexts, each with the version that orders its facts.

CREATE TABLE profile (
    enterprise_id   TEXT PRIMARY KEY CHECK (length(enterprise_id) = 18),
    version         BIGINT NOT NULL,
    -- zhirong.profile.v1.Profile
    content         BYTEA NOT NULL
);

CREATE TABLE institution (
    institution_id  TEXT PRIMARY KEY,
    version         BIGINT NOT NULL,
    name_zh         TEXT NOT NULL
);

CREATE TABLE product (
    product_id      UUID PRIMARY KEY,
    sequence        BIGINT NOT NULL,
    -- zhirong.catalog.v1.Product; NULL once it has left the supermarket.
    content         BYTEA
);

CREATE TABLE reference (
    name            TEXT PRIMARY KEY CHECK (name IN ('lpr', 'calendar')),
    version         BIGINT NOT NULL,
    content         BYTEA NOT NULL
);

CREATE TABLE product_score (
    product_id      UUID PRIMARY KEY,
    version         BIGINT NOT NULL,
    mean_level_ppm  BIGINT NOT NULL
);

-- One row: raised in the transaction of every change to what the calculator computes from.
CREATE TABLE catalog_version (
    single          BOOLEAN PRIMARY KEY DEFAULT true CHECK (single),
    version         BIGINT NOT NULL
);
INSERT INTO catalog_version (version) VALUES (0);

-- Which enterprise computed on which business day, and from which versions the first time.
CREATE TABLE calculation (
    enterprise_id   TEXT NOT NULL,
    computed_on     DATE NOT NULL,
    catalog_version BIGINT NOT NULL,
    profile_version BIGINT NOT NULL,
    PRIMARY KEY (enterprise_id, computed_on)
);
CREATE INDEX calculation_day ON calculation (computed_on);

CREATE TABLE orders (
    order_id        UUID PRIMARY KEY,
    enterprise_id   TEXT NOT NULL CHECK (length(enterprise_id) = 18),
    institution_id  TEXT NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('routed', 'accepted', 'approved', 'rejected', 'withdrawn', 'expired')),
    version         BIGINT NOT NULL CHECK (version > 0),
    -- zhirong.matching.v1.Order as it stands
    content         BYTEA NOT NULL,
    -- What the order was computed on: zhirong.catalog.v1.Product and zhirong.profile.v1.Profile
    product         BYTEA NOT NULL,
    profile         BYTEA NOT NULL,
    placed_at       TIMESTAMPTZ NOT NULL,
    closed_at       TIMESTAMPTZ,
    answer_due_on   DATE NOT NULL,
    CHECK ((closed_at IS NULL) = (state IN ('routed', 'accepted')))
);
CREATE INDEX orders_newest ON orders (placed_at, order_id);
CREATE INDEX orders_of_enterprise ON orders (enterprise_id, placed_at, order_id);
CREATE INDEX orders_open ON orders (answer_due_on) WHERE state IN ('routed', 'accepted');

-- The last position of each institution's inbox; its lock makes positions gap-free and visible in order.
CREATE TABLE inbox_head (
    institution_id  TEXT PRIMARY KEY,
    position        BIGINT NOT NULL CHECK (position > 0)
);
CREATE TABLE inbox_entry (
    institution_id  TEXT NOT NULL,
    position        BIGINT NOT NULL CHECK (position > 0),
    order_id        UUID NOT NULL REFERENCES orders,
    -- zhirong.matching.v1.Order as it was at this position
    content         BYTEA NOT NULL,
    PRIMARY KEY (institution_id, position)
);

CREATE TABLE loan (
    loan_id         UUID PRIMARY KEY,
    -- One loan an order.
    order_id        UUID NOT NULL UNIQUE REFERENCES orders,
    enterprise_id   TEXT NOT NULL,
    institution_id  TEXT NOT NULL,
    bank_reference  TEXT NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('approved', 'disbursed')),
    version         BIGINT NOT NULL CHECK (version > 0),
    -- zhirong.matching.v1.Loan as it stands
    content         BYTEA NOT NULL,
    amount_fen      BIGINT NOT NULL CHECK (amount_fen > 0),
    approved_at     TIMESTAMPTZ NOT NULL,
    disbursed_fen   BIGINT CHECK (disbursed_fen BETWEEN 1 AND amount_fen),
    disbursed_on    DATE,
    CONSTRAINT loan_reference_once UNIQUE (institution_id, bank_reference),
    CHECK ((state = 'disbursed') = (disbursed_fen IS NOT NULL)),
    CHECK ((disbursed_fen IS NULL) = (disbursed_on IS NULL))
);
CREATE INDEX loan_approved ON loan (approved_at);
CREATE INDEX loan_disbursed ON loan (disbursed_on);
