-- A grant that its budget holds short says so once, and no longer with one more sentence at every computation.
ALTER TABLE subsidy_grant
    -- The budget had less than it needs: what is set aside is the ceiling.
    ADD COLUMN short BOOLEAN NOT NULL DEFAULT false;
UPDATE subsidy_grant
SET short = true,
    calculation_zh = regexp_replace(calculation_zh, '年度资金余额不足以增加，以已预留的[^。]*元为限。', '', 'g')
WHERE calculation_zh LIKE '%年度资金余额不足以增加，以已预留的%';
