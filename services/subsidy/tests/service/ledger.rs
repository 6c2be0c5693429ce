//! The database keeps the ledger right, whatever a program tries.

use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use uuid::Uuid;
use zhirong_testkit::TestDatabase;

use crate::support::{IP_FEN, World, ip_policy, loan};

struct Ledger {
    pool: PgPool,
    budget: Uuid,
}

/// A budget with 1 000 fen and a loan's grant that holds money.
async fn ledger() -> (World, Ledger) {
    let world = World::with_lpr(1).await;
    let policy = world.policy(ip_policy()).await;
    world.appropriate(&policy, 2026, IP_FEN + 1_000).await;
    world.approve(&loan(1)).await;
    world.handled().await;
    let budget = sqlx::query_scalar("SELECT budget_id FROM budget").fetch_one(&world.pool).await.unwrap();
    let pool = world.pool.clone();
    (world, Ledger { pool, budget })
}

impl Ledger {
    /// Writes a transaction with these postings, in one statement, and commits; says why it could not.
    async fn post(&self, postings: &[(&str, i64)]) -> Result<Uuid, String> {
        let mut tx = self.pool.begin().await.unwrap();
        let id = Uuid::now_v7();
        sqlx::query(
            "INSERT INTO ledger_transaction (transaction_id, budget_id, reason, grant_id, posted_at)
             SELECT $1, $2, 'reserve', grant_id, now() FROM subsidy_grant",
        )
        .bind(id)
        .bind(self.budget)
        .execute(&mut *tx)
        .await
        .map_err(|error| error.to_string())?;
        let kinds: Vec<String> = postings.iter().map(|(kind, _)| (*kind).to_owned()).collect();
        let amounts: Vec<i64> = postings.iter().map(|(_, amount)| *amount).collect();
        sqlx::query(
            "INSERT INTO ledger_posting (transaction_id, budget_id, kind, amount_fen)
             SELECT $1, $2, kind, amount FROM unnest($3::text[], $4::bigint[]) AS n (kind, amount)",
        )
        .bind(id)
        .bind(self.budget)
        .bind(kinds)
        .bind(amounts)
        .execute(&mut *tx)
        .await
        .map_err(|error| error.to_string())?;
        tx.commit().await.map_err(|error| error.to_string())?;
        Ok(id)
    }

    async fn run(&self, sql: &'static str) -> String {
        self.pool.execute(sql).await.unwrap_err().to_string()
    }
}

#[tokio::test]
async fn what_does_not_balance_is_refused_at_the_latest_at_the_commit() {
    let (world, ledger) = ledger().await;
    assert!(ledger.post(&[]).await.unwrap_err().contains("does not balance: no postings"));
    assert!(ledger.post(&[("available", -5)]).await.unwrap_err().contains("does not balance: -5"));
    // The postings of a transaction are written by one statement, which is seen at once.
    let lopsided = "WITH t AS (
            INSERT INTO ledger_transaction (transaction_id, budget_id, reason, grant_id, posted_at)
            SELECT gen_random_uuid(), budget_id, 'reserve', grant_id, now() FROM subsidy_grant
            RETURNING transaction_id, budget_id)
        INSERT INTO ledger_posting (transaction_id, budget_id, kind, amount_fen)
        SELECT transaction_id, budget_id, kind, amount FROM t, (VALUES ('available', -5), ('reserved', 6)) AS v (kind, amount)";
    assert!(ledger.run(lopsided).await.contains("does not balance: 1"));
    let more_than_there_is = "WITH t AS (
            INSERT INTO ledger_transaction (transaction_id, budget_id, reason, grant_id, posted_at)
            SELECT gen_random_uuid(), budget_id, 'reserve', grant_id, now() FROM subsidy_grant
            RETURNING transaction_id, budget_id)
        INSERT INTO ledger_posting (transaction_id, budget_id, kind, amount_fen)
        SELECT transaction_id, budget_id, kind, amount FROM t, (VALUES ('available', -1001), ('reserved', 1001)) AS v (kind, amount)";
    assert!(ledger.run(more_than_there_is).await.contains("budget_not_exceeded"));
    world.stop().await;
}

#[tokio::test]
async fn the_sum_is_checked_even_when_the_budgets_row_could_not_tell() {
    let (world, ledger) = ledger().await;
    // With the balance of the row switched off, the deferred check of the transaction still stands.
    ledger.pool.execute("ALTER TABLE budget DROP CONSTRAINT budget_balances").await.unwrap();
    assert!(ledger.post(&[("available", -5)]).await.unwrap_err().contains("does not balance: -5"));
    assert!(ledger.post(&[("available", -5), ("reserved", 6)]).await.unwrap_err().contains("does not balance: 1"));
    // Balanced, then unbalanced by one more posting.
    let mut tx = ledger.pool.begin().await.unwrap();
    let late = "INSERT INTO ledger_transaction (transaction_id, budget_id, reason, grant_id, posted_at)
                SELECT '00000000-0000-4000-8000-000000000001', budget_id, 'reserve', grant_id, now() FROM subsidy_grant;
                INSERT INTO ledger_posting SELECT '00000000-0000-4000-8000-000000000001', budget_id, v.kind, v.amount
                FROM budget, (VALUES ('available', -5), ('reserved', 5)) AS v (kind, amount);
                INSERT INTO ledger_posting SELECT '00000000-0000-4000-8000-000000000001', budget_id, 'paid', 1 FROM budget";
    let refused = sqlx::raw_sql(late).execute(&mut *tx).await.unwrap_err();
    assert!(refused.to_string().contains("does not balance: 1"));
    drop(tx);
    world.stop().await;
}

#[tokio::test]
async fn nothing_that_was_posted_can_be_changed() {
    let (world, ledger) = ledger().await;
    for sql in [
        "UPDATE ledger_posting SET amount_fen = amount_fen + 1",
        "DELETE FROM ledger_posting",
        "TRUNCATE ledger_posting",
        "UPDATE ledger_transaction SET posted_at = now()",
        "DELETE FROM ledger_transaction",
        "UPDATE ledger_account SET kind = 'paid'",
        "DELETE FROM ledger_account",
    ] {
        assert!(ledger.run(sql).await.contains("the ledger is never changed"), "{sql}");
    }
    for sql in [
        "UPDATE budget SET available_fen = available_fen + 1, appropriated_fen = appropriated_fen + 1",
        "UPDATE budget SET year = 2027",
    ] {
        assert!(ledger.run(sql).await.contains("move by postings alone"), "{sql}");
    }
    assert!(ledger.run("DELETE FROM budget").await.contains("never deleted"));
    let rich = "INSERT INTO budget (budget_id, policy_id, year, appropriated_fen, available_fen)
                SELECT gen_random_uuid(), policy_id, 2030, 5, 5 FROM policy";
    assert!(ledger.run(rich).await.contains("a budget begins empty"));
    // A balanced pair of postings added to a transaction of yesterday.
    let late = "INSERT INTO ledger_posting SELECT transaction_id, budget_id, v.kind, v.amount FROM ledger_transaction,
                (VALUES ('accrued', -5), ('paid', 5)) AS v (kind, amount) WHERE reason = 'appropriate'";
    assert!(ledger.run(late).await.contains("is closed"));
    world.stop().await;
}

#[tokio::test]
async fn a_difference_between_balances_and_postings_is_seen() {
    let (world, ledger) = ledger().await;
    world.assert_ledger_balances().await;
    // What only a superuser with the triggers off can do.
    let mut conn = PgConnection::connect(world.database.url()).await.unwrap();
    conn.execute("SET session_replication_role = replica").await.unwrap();
    conn.execute("UPDATE budget SET available_fen = available_fen + 1, appropriated_fen = appropriated_fen + 1")
        .await
        .unwrap();
    conn.execute("UPDATE subsidy_grant SET planned_fen = planned_fen - 1, reserved_fen = reserved_fen - 1")
        .await
        .unwrap();
    let kinds: Vec<String> =
        sqlx::query_scalar("SELECT kind FROM ledger_difference ORDER BY kind").fetch_all(&ledger.pool).await.unwrap();
    assert_eq!(kinds, ["appropriation", "available", "grant reserved", "grants"]);
    conn.execute("UPDATE budget SET available_fen = available_fen - 1, appropriated_fen = appropriated_fen - 1")
        .await
        .unwrap();
    conn.execute("UPDATE subsidy_grant SET planned_fen = planned_fen + 1, reserved_fen = reserved_fen + 1")
        .await
        .unwrap();
    world.stop().await;
}

#[tokio::test]
async fn a_second_grant_of_a_policy_for_a_loan_is_refused() {
    let (world, ledger) = ledger().await;
    let second = "INSERT INTO subsidy_grant (grant_id, loan_id, enterprise_id, policy_id, policy_version, budget_id, state,
        planned_fen, reserved_fen, cap_fen, rate_e12, lpr_ppm, principal_fen, from_on, until_on, disbursed, calculation_zh,
        version, approved_at, created_at)
        SELECT gen_random_uuid(), loan_id, enterprise_id, policy_id, policy_version, budget_id, state, planned_fen, reserved_fen,
        cap_fen, rate_e12, lpr_ppm, principal_fen, from_on, until_on, disbursed, calculation_zh, version, approved_at, created_at
        FROM subsidy_grant";
    assert!(ledger.run(second).await.contains("duplicate key"));
    world.stop().await;
}

#[tokio::test]
async fn the_schema_comes_up_twice_without_harm() {
    let database = TestDatabase::empty().await.unwrap();
    let pool = database.pool().await.unwrap();
    for _ in 0..2 {
        subsidy::MIGRATIONS.run(&pool).await.unwrap();
    }
    let accounts: i64 = sqlx::query_scalar("SELECT count(*) FROM ledger_account").fetch_one(&pool).await.unwrap();
    assert_eq!(accounts, 0);
}
