-- Who is first in order of approval is served first, however much it needs: nobody looks for the least any more.
DROP INDEX grant_waiting_least;
-- Grants that their budget held short, in the order in which they get what they lack once money comes.
CREATE INDEX grant_short ON subsidy_grant (budget_id, approved_at, loan_id) WHERE short AND state IN ('active', 'ended');
