-- What was shown to institutions beside what orders said they may see, and told: each order, scope and version of a profile once,
-- however often the inbox is read.
CREATE TABLE disclosure_made (
    order_id        UUID NOT NULL REFERENCES orders,
    -- zhirong.profile.v1.Scope.
    scope           BYTEA NOT NULL,
    profile_version BIGINT NOT NULL,
    PRIMARY KEY (order_id, scope, profile_version)
);
