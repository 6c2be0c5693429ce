-- That a record's category exists is looked after once a statement instead of once a row, with the same result: a category is
-- never deleted and never gets another name, so what stood when the record was written stands for good.
CREATE FUNCTION category_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'records refer to categories, which stay' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER category_stays BEFORE UPDATE OF category OR DELETE OR TRUNCATE ON category
    FOR EACH STATEMENT EXECUTE FUNCTION category_stays();

CREATE FUNCTION record_has_category() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    odd TEXT;
BEGIN
    SELECT n.category INTO odd FROM (SELECT DISTINCT category FROM new_records) n
    WHERE NOT EXISTS (SELECT FROM category c WHERE c.category = n.category) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the category % is not known', odd USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER record_has_category AFTER INSERT ON record
    REFERENCING NEW TABLE AS new_records FOR EACH STATEMENT EXECUTE FUNCTION record_has_category();
-- A record keeps its key.
CREATE FUNCTION record_keeps_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a record keeps its source, category and id' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER record_keeps_key BEFORE UPDATE OF source, category, record_id ON record
    FOR EACH STATEMENT EXECUTE FUNCTION record_keeps_key();
ALTER TABLE record DROP CONSTRAINT record_category_fkey;
