-- What matching told of profiles that went out with orders and stands on the trail: each once.
CREATE TABLE order_disclosure (
    disclosure_id UUID PRIMARY KEY
);
