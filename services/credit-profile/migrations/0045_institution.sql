-- The institutions of the catalog: a consent can be given to these alone. An institution is never taken out.
CREATE TABLE institution (
    institution_id TEXT PRIMARY KEY
);
-- The broker may have forgotten when they were registered; whoever had an order is in the catalog.
INSERT INTO institution
SELECT DISTINCT consent.institution_id FROM consent JOIN financing_demand ON financing_demand.order_id = consent.consent_id;
