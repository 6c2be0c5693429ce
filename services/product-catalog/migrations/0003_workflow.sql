-- The way of a version: draft, submitted, reviewed by another person, published (perhaps on a later day), suspended, retired;
-- with its whole history. The terms that people search for stand in columns of their own.

ALTER TABLE product_version
    ADD COLUMN submitted_by     TEXT,
    ADD COLUMN reviewed_by      TEXT,
    -- Who set the day on which a reviewed version comes into force.
    ADD COLUMN scheduled_by     TEXT,
    ADD COLUMN effective_on     DATE,
    -- Copies of what the specification says, NULL for services. Versions written before these columns were there get them when
    -- the service starts, because SQL can't read the specification.
    ADD COLUMN min_amount_fen   BIGINT,
    ADD COLUMN max_amount_fen   BIGINT,
    ADD COLUMN min_term_months  INT,
    ADD COLUMN max_term_months  INT,
    ADD COLUMN guarantee_form   INT;

-- What was published before this migration was reviewed by who published it: another person.
ALTER TABLE product_version DISABLE TRIGGER product_version_kept;
UPDATE product_version
    SET reviewed_by = published_by, effective_on = (published_at AT TIME ZONE 'Asia/Shanghai')::date
    WHERE published_by IS NOT NULL;
ALTER TABLE product_version ENABLE TRIGGER product_version_kept;

ALTER TABLE product_version
    DROP CONSTRAINT product_version_state_check,
    -- Two people: nobody reviews what they wrote, and nothing is published that nobody reviewed. Who publishes a reviewed version
    -- may be its author.
    DROP CONSTRAINT product_version_check,
    DROP CONSTRAINT product_version_check2,
    ADD CONSTRAINT version_state CHECK (state IN ('draft', 'submitted', 'reviewed', 'published', 'suspended', 'retired')),
    ADD CONSTRAINT version_reviewed_by_another CHECK (reviewed_by <> drafted_by),
    ADD CONSTRAINT version_reviewed_first CHECK (state IN ('draft', 'submitted') OR reviewed_by IS NOT NULL),
    ADD CONSTRAINT version_published_before CHECK (state IN ('draft', 'submitted', 'reviewed') OR published_at IS NOT NULL),
    ADD CONSTRAINT version_scheduled CHECK (state <> 'reviewed' OR (scheduled_by IS NULL) = (effective_on IS NULL));

-- One version of a product is in force or suspended.
DROP INDEX product_version_published;
CREATE UNIQUE INDEX product_version_in_force ON product_version (product_id) WHERE state IN ('published', 'suspended');
-- What comes into force by itself.
CREATE INDEX product_version_scheduled ON product_version (effective_on) WHERE state = 'reviewed' AND effective_on IS NOT NULL;
-- What still lacks its copies; empty but for a moment after this migration.
CREATE INDEX product_version_unfilled ON product_version (product_id, version) WHERE is_credit AND guarantee_form IS NULL;

-- A version's content never changes; only its way goes on.
CREATE OR REPLACE FUNCTION keep_published_version() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    way     TEXT[] := ARRAY['state', 'submitted_by', 'reviewed_by', 'scheduled_by', 'effective_on', 'published_by', 'published_at'];
    copies  TEXT[] := ARRAY['min_amount_fen', 'max_amount_fen', 'min_term_months', 'max_term_months', 'guarantee_form'];
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'a product version is never deleted';
    END IF;
    IF to_jsonb(OLD) - way - copies <> to_jsonb(NEW) - way - copies THEN
        RAISE EXCEPTION 'a product version never changes';
    END IF;
    IF OLD.guarantee_form IS NOT NULL AND
        (OLD.min_amount_fen, OLD.max_amount_fen, OLD.min_term_months, OLD.max_term_months, OLD.guarantee_form)
        IS DISTINCT FROM (NEW.min_amount_fen, NEW.max_amount_fen, NEW.min_term_months, NEW.max_term_months, NEW.guarantee_form) THEN
        RAISE EXCEPTION 'a product version never changes';
    END IF;
    IF OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (
        ('draft', 'submitted'), ('submitted', 'draft'), ('submitted', 'reviewed'), ('reviewed', 'draft'), ('reviewed', 'published'),
        ('published', 'suspended'), ('suspended', 'published'), ('published', 'retired'), ('suspended', 'retired')) THEN
        RAISE EXCEPTION 'a product version does not go from % to %', OLD.state, NEW.state;
    END IF;
    IF OLD.published_at IS NOT NULL AND
        (OLD.submitted_by, OLD.reviewed_by, OLD.effective_on, OLD.published_by, OLD.published_at)
        IS DISTINCT FROM (NEW.submitted_by, NEW.reviewed_by, NEW.effective_on, NEW.published_by, NEW.published_at) THEN
        RAISE EXCEPTION 'a product version is published once';
    END IF;
    RETURN NEW;
END $$;

-- Who did what, when and why. Its entries are written in the transaction of what they tell, under the lock of the product.
CREATE TABLE product_history (
    product_id      UUID NOT NULL REFERENCES product,
    entry           BIGINT NOT NULL CHECK (entry > 0),
    version         INT NOT NULL,
    -- The name of a zhirong.catalog.v1.ProductAction without its prefix.
    action          TEXT NOT NULL,
    person          TEXT NOT NULL,
    role            TEXT NOT NULL,
    happened_at     TIMESTAMPTZ NOT NULL,
    reason          TEXT NOT NULL,
    effective_on    DATE,
    adjustment_id   UUID,
    PRIMARY KEY (product_id, entry)
);
CREATE FUNCTION keep_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'history never changes';
END $$;
CREATE TRIGGER product_history_kept BEFORE UPDATE OR DELETE ON product_history
    FOR EACH ROW EXECUTE FUNCTION keep_history();

-- What the versions of before still know of their way.
INSERT INTO product_history (product_id, entry, version, action, person, role, happened_at, reason)
SELECT product_id, row_number() OVER (PARTITION BY product_id ORDER BY happened_at, version, step), version, action, person, 'staff',
       happened_at, ''
FROM (SELECT product_id, version, 1 AS step, 'DRAFTED' AS action, drafted_by AS person, drafted_at AS happened_at FROM product_version
      UNION ALL
      SELECT product_id, version, 2, 'APPROVED', published_by, published_at FROM product_version WHERE published_at IS NOT NULL
      UNION ALL
      SELECT product_id, version, 3, 'PUBLISHED', published_by, published_at FROM product_version WHERE published_at IS NOT NULL) known;
