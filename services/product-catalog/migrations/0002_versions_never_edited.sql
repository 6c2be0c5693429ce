-- 0001 kept only the specification of a version that is out of draft. A version is never edited at all: it is published once,
-- retired once, and nothing else about it changes, so that an order can always be read with the terms it was placed under.
CREATE OR REPLACE FUNCTION keep_published_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'a product version is never deleted';
    END IF;
    IF to_jsonb(OLD) - ARRAY['state', 'published_by', 'published_at']
        <> to_jsonb(NEW) - ARRAY['state', 'published_by', 'published_at'] THEN
        RAISE EXCEPTION 'a product version never changes';
    END IF;
    IF (OLD.state, NEW.state) NOT IN (('draft', 'published'), ('published', 'retired')) THEN
        RAISE EXCEPTION 'a product version goes from draft to published to retired';
    END IF;
    IF OLD.state <> 'draft' AND (OLD.published_by, OLD.published_at) IS DISTINCT FROM (NEW.published_by, NEW.published_at) THEN
        RAISE EXCEPTION 'a product version is published once';
    END IF;
    RETURN NEW;
END $$;
