-- How the consents of orders stand, as the profile service says; a consent of an order has the order's id.
CREATE TABLE order_consent (
    consent_id UUID PRIMARY KEY,
    version    BIGINT NOT NULL CHECK (version > 0),
    -- zhirong.profile.v1.Scope.
    scope      BYTEA NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL,
    revoked    BOOLEAN NOT NULL
);

-- What was withheld from an institution and told; each order and reason once, however often the inbox is read.
CREATE TABLE disclosure_refused (
    order_id UUID NOT NULL REFERENCES orders,
    reason   TEXT NOT NULL,
    PRIMARY KEY (order_id, reason)
);
