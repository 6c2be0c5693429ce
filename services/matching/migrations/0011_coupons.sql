-- Rate coupons as subsidy tells of them, and what each enterprise held at each version, so that an answer of the past can be
-- computed again.

CREATE TABLE coupon (
    coupon_id       UUID PRIMARY KEY,
    enterprise_id   TEXT NOT NULL CHECK (length(enterprise_id) = 18),
    version         BIGINT NOT NULL CHECK (version > 0),
    held            BOOLEAN NOT NULL,
    -- zhirong.subsidy.v1.Coupon
    content         BYTEA NOT NULL
);
CREATE INDEX coupon_held ON coupon (enterprise_id) WHERE held;

CREATE TABLE coupon_holder (
    enterprise_id   TEXT PRIMARY KEY CHECK (length(enterprise_id) = 18),
    version         BIGINT NOT NULL CHECK (version > 0)
);

CREATE TABLE coupon_log (
    enterprise_id   TEXT NOT NULL REFERENCES coupon_holder,
    version         BIGINT NOT NULL CHECK (version > 0),
    -- zhirong.subsidy.v1.ListCouponsResponse: all that were held, in order of id
    content         BYTEA NOT NULL,
    PRIMARY KEY (enterprise_id, version)
);

-- A policy that has ended is not offered, but its version is remembered.
ALTER TABLE subsidy_policy ADD COLUMN ended BOOLEAN NOT NULL DEFAULT false;
