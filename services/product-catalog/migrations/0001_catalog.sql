CREATE TABLE institution (
    institution_id  TEXT PRIMARY KEY CHECK (institution_id ~ '^[a-z][a-z0-9-]{1,31}$'),
    name_zh         TEXT NOT NULL CHECK (char_length(name_zh) BETWEEN 1 AND 64),
    kind            INT NOT NULL CHECK (kind > 0),
    version         BIGINT NOT NULL CHECK (version > 0)
);

-- The head of a product; its row is the lock under which versions are made and published.
CREATE TABLE product (
    product_id          UUID PRIMARY KEY,
    institution_id      TEXT NOT NULL REFERENCES institution,
    latest_version      INT NOT NULL CHECK (latest_version >= 0),
    published_version   INT CHECK (published_version BETWEEN 1 AND latest_version),
    -- Orders the facts about the product.
    sequence            BIGINT NOT NULL CHECK (sequence >= 0)
);

-- A version never changes once it is published; only its state goes on.
CREATE TABLE product_version (
    product_id      UUID NOT NULL REFERENCES product,
    version         INT NOT NULL CHECK (version > 0),
    -- zhirong.catalog.v1.ProductSpec
    spec            BYTEA NOT NULL,
    institution_id  TEXT NOT NULL,
    name_zh         TEXT NOT NULL,
    summary_zh      TEXT NOT NULL,
    tags            TEXT[] NOT NULL,
    is_credit       BOOLEAN NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('draft', 'published', 'retired')),
    drafted_by      TEXT NOT NULL,
    drafted_at      TIMESTAMPTZ NOT NULL,
    published_by    TEXT,
    published_at    TIMESTAMPTZ,
    PRIMARY KEY (product_id, version),
    -- Nobody publishes what they wrote themselves.
    CHECK (published_by <> drafted_by),
    CHECK ((published_by IS NULL) = (published_at IS NULL)),
    CHECK (state = 'draft' OR published_at IS NOT NULL)
);
-- One version of a product is in force.
CREATE UNIQUE INDEX product_version_published ON product_version (product_id) WHERE state = 'published';

CREATE FUNCTION keep_published_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR (OLD.state <> 'draft' AND OLD.spec <> NEW.spec) THEN
        RAISE EXCEPTION 'a published product version never changes';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER product_version_kept BEFORE UPDATE OR DELETE ON product_version
    FOR EACH ROW EXECUTE FUNCTION keep_published_version();

-- LPR table and calendar, as encoded messages; the newest version is in force.
CREATE TABLE reference (
    name        TEXT NOT NULL CHECK (name IN ('lpr', 'calendar')),
    version     BIGINT NOT NULL CHECK (version > 0),
    content     BYTEA NOT NULL,
    entered_by  TEXT NOT NULL,
    entered_at  TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (name, version)
);
