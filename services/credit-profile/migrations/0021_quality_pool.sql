-- What became of loans, one row a fact: the loan's version makes it count once, whatever the order of arrival.
CREATE TABLE loan_step (
    loan_id         UUID NOT NULL,
    version         BIGINT NOT NULL CHECK (version >= 1),
    enterprise_id   TEXT NOT NULL CHECK (length(enterprise_id) = 18),
    kind            TEXT NOT NULL CHECK (kind IN ('approved', 'disbursed', 'repaid', 'other', 'settled', 'defaulted')),
    -- The business day of it.
    happened_on     DATE NOT NULL,
    -- Only of a repayment: whether it came later than the contract says.
    overdue         BOOLEAN NOT NULL CHECK (NOT overdue OR kind = 'repaid'),
    -- The loan after it.
    state           TEXT NOT NULL CHECK (state IN ('approved', 'disbursed', 'settled', 'defaulted')),
    outstanding_fen BIGINT NOT NULL CHECK (outstanding_fen >= 0),
    matures_on      DATE,
    PRIMARY KEY (loan_id, version)
);
CREATE INDEX loan_step_enterprise ON loan_step (enterprise_id);

-- Who asked for money when.
CREATE TABLE financing_demand (
    order_id      UUID PRIMARY KEY,
    enterprise_id TEXT NOT NULL CHECK (length(enterprise_id) = 18),
    placed_on     DATE NOT NULL
);
CREATE INDEX financing_demand_enterprise ON financing_demand (enterprise_id);

-- How enterprises rated the service behind their loans.
CREATE TABLE enterprise_rating (
    rating_id     UUID PRIMARY KEY,
    enterprise_id TEXT NOT NULL CHECK (length(enterprise_id) = 18),
    level         INT NOT NULL CHECK (level BETWEEN 1 AND 5),
    received_on   DATE NOT NULL
);
CREATE INDEX enterprise_rating_enterprise ON enterprise_rating (enterprise_id);

-- Where enterprises with loans stand in respect of the pool.
CREATE TABLE quality_standing (
    enterprise_id TEXT PRIMARY KEY CHECK (length(enterprise_id) = 18),
    listed        BOOLEAN NOT NULL,
    -- Entries and exits so far.
    version       BIGINT NOT NULL CHECK (version >= 0),
    -- zhirong.profile.v1.QualityStanding.
    content       BYTEA NOT NULL,
    -- In, out, in, out: an odd version is in the pool.
    CHECK (listed = (version % 2 = 1))
);
CREATE INDEX quality_standing_listed ON quality_standing (enterprise_id) WHERE listed;

-- Every entry and exit.
CREATE TABLE quality_change (
    enterprise_id TEXT NOT NULL,
    version       BIGINT NOT NULL CHECK (version >= 1),
    content       BYTEA NOT NULL,
    PRIMARY KEY (enterprise_id, version)
);
