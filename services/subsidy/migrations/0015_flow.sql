-- Products that a policy names; empty means any.
ALTER TABLE policy_version
    ADD COLUMN product_ids UUID[] NOT NULL DEFAULT '{}' CHECK (cardinality(product_ids) <= 64);

-- Whether it was last told that there is money: each crossing of zero is told once.
ALTER TABLE budget ADD COLUMN funded_told BOOLEAN NOT NULL DEFAULT false;
UPDATE budget SET funded_told = true WHERE available_fen > 0;

-- A coupon that expired before the news of a loan came that was approved in time. Another may have been issued since.
ALTER TABLE coupon
    ADD COLUMN used_late BOOLEAN NOT NULL DEFAULT false CHECK (state = 'redeemed' OR NOT used_late);
DROP INDEX coupon_of_enterprise;
CREATE UNIQUE INDEX coupon_of_enterprise ON coupon (policy_id, enterprise_id) WHERE state <> 'expired' AND NOT used_late;

-- The least that somebody waits for, and whether somebody can be served, are one look at the index.
CREATE INDEX grant_waiting_least ON subsidy_grant (budget_id, planned_fen) WHERE state = 'waiting';
