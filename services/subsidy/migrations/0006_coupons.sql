-- Rate coupons: the right to a grant under a policy that pays a rate cut, used once.

CREATE TABLE coupon (
    coupon_id           UUID PRIMARY KEY,
    policy_id           UUID NOT NULL,
    policy_version      INT NOT NULL,
    enterprise_id       TEXT NOT NULL CHECK (length(enterprise_id) = 18),
    state               TEXT NOT NULL CHECK (state IN ('held', 'redeemed', 'expired')),
    valid_until         DATE NOT NULL,
    issued_at           TIMESTAMPTZ NOT NULL,
    issued_by           TEXT NOT NULL,
    loan_id             UUID REFERENCES loan,
    version             BIGINT NOT NULL CHECK (version > 0),
    FOREIGN KEY (policy_id, policy_version) REFERENCES policy_version,
    CHECK ((state = 'redeemed') = (loan_id IS NOT NULL))
);
-- One coupon of a policy for an enterprise, unless the one before expired.
CREATE UNIQUE INDEX coupon_of_enterprise ON coupon (policy_id, enterprise_id) WHERE state <> 'expired';
-- A loan uses one coupon, a coupon is used on one loan.
CREATE UNIQUE INDEX coupon_of_loan ON coupon (loan_id) WHERE loan_id IS NOT NULL;
CREATE INDEX coupon_in_order ON coupon (issued_at, coupon_id);
CREATE INDEX coupon_expiring ON coupon (valid_until) WHERE state = 'held';
