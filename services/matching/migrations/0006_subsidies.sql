-- What subsidy pays, by which the calculator tells what an offer costs in the end.

CREATE TABLE subsidy_policy (
    policy_id       UUID PRIMARY KEY,
    version         INT NOT NULL,
    -- zhirong.subsidy.v1.Policy
    content         BYTEA NOT NULL
);

CREATE TABLE subsidy_budget (
    policy_id       UUID NOT NULL,
    year            INT NOT NULL,
    version         BIGINT NOT NULL,
    -- Whether money is left.
    available       BOOLEAN NOT NULL,
    PRIMARY KEY (policy_id, year)
);

ALTER TABLE catalog_log DROP CONSTRAINT catalog_log_kind_check;
ALTER TABLE catalog_log ADD CONSTRAINT catalog_log_kind_check
    CHECK (kind IN ('institution', 'product', 'lpr', 'calendar', 'score', 'adjustment', 'policy', 'budget'));
