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
    /// Writes a movement of the grant's money and says why it could not.
    async fn refused(&self, reason: &str, (loses, gains): (&str, &str), fen: i64) -> String {
        let moved = sqlx::query(
            "INSERT INTO ledger_transaction (transaction_id, budget_id, reason, grant_id, posted_at, loses, gains, amount_fen)
             SELECT gen_random_uuid(), $1, $2, grant_id, now(), $3, $4, $5 FROM subsidy_grant",
        )
        .bind(self.budget)
        .bind(reason)
        .bind(loses)
        .bind(gains)
        .bind(fen)
        .execute(&self.pool)
        .await;
        moved.unwrap_err().to_string()
    }

    async fn run(&self, sql: &'static str) -> String {
        self.pool.execute(sql).await.unwrap_err().to_string()
    }
}

#[tokio::test]
async fn only_a_movement_of_an_amount_between_the_accounts_of_its_reason_can_be_written() {
    let (world, ledger) = ledger().await;
    let reserve = ("available", "reserved");
    assert!(ledger.refused("reserve", reserve, 0).await.contains("ledger_transaction_moves_something"));
    assert!(ledger.refused("reserve", reserve, -5).await.contains("ledger_transaction_moves_something"));
    assert!(ledger.refused("reserve", ("available", "available"), 5).await.contains("ledger_transaction_accounts"));
    assert!(ledger.refused("reserve", ("available", "paid"), 5).await.contains("ledger_transaction_accounts"));
    assert!(ledger.refused("reserve", ("nowhere", "reserved"), 5).await.contains("ledger_transaction_accounts"));
    assert!(ledger.refused("invent", reserve, 5).await.contains("violates check constraint"));
    assert!(ledger.refused("reserve", reserve, 1_001).await.contains("budget_not_exceeded"));
    let one_sided = "INSERT INTO ledger_transaction (transaction_id, budget_id, reason, grant_id, posted_at, loses, amount_fen)
                     SELECT gen_random_uuid(), budget_id, 'reserve', grant_id, now(), 'available', 5 FROM subsidy_grant";
    assert!(ledger.run(one_sided).await.contains("not-null constraint"));
    // The postings are read from the movements; there is no writing them beside.
    let beside = "INSERT INTO ledger_posting SELECT transaction_id, budget_id, 'available', 5 FROM ledger_transaction";
    assert!(ledger.run(beside).await.contains("cannot insert into view"));
    world.stop().await;
}

#[tokio::test]
async fn money_stays_with_what_it_belongs_to() {
    let (world, ledger) = ledger().await;
    let strangers = [
        // Another budget than the grant's.
        ("INSERT INTO budget (budget_id, policy_id, year) SELECT gen_random_uuid(), policy_id, 2027 FROM policy;
          INSERT INTO ledger_transaction (transaction_id, budget_id, reason, grant_id, posted_at, loses, gains, amount_fen)
          SELECT gen_random_uuid(), b.budget_id, 'reserve', grant_id, now(), 'available', 'reserved', 5
          FROM subsidy_grant, budget b WHERE b.year = 2027", "not on the budget of its grant"),
        ("INSERT INTO ledger_transaction (transaction_id, budget_id, reason, grant_id, posted_at, loses, gains, amount_fen)
          SELECT gen_random_uuid(), budget_id, 'reserve', gen_random_uuid(), now(), 'available', 'reserved', 5
          FROM budget", "not on the budget of its grant"),
        ("INSERT INTO ledger_transaction (transaction_id, budget_id, reason, document_zh, entered_by, posted_at, loses, gains,
              amount_fen)
          VALUES (gen_random_uuid(), gen_random_uuid(), 'appropriate', 'd', 'e', now(), 'appropriation', 'available', 5)",
          "a budget that is not known"),
        // The line of no settlement, no compensation.
        ("INSERT INTO ledger_transaction (transaction_id, budget_id, reason, grant_id, settlement_line_id, posted_at, loses, gains,
              amount_fen)
          SELECT gen_random_uuid(), budget_id, 'pay', grant_id, gen_random_uuid(), now(), 'payable', 'paid', 5 FROM subsidy_grant",
          "refers to what is not known"),
        ("INSERT INTO ledger_transaction (transaction_id, budget_id, reason, compensation_id, posted_at, loses, gains, amount_fen)
          SELECT gen_random_uuid(), budget_id, 'reserve', gen_random_uuid(), now(), 'available', 'reserved', 5 FROM budget",
          "refers to what is not known"),
        // A grant of nothing.
        ("INSERT INTO subsidy_grant SELECT (jsonb_populate_record(g, jsonb_build_object(
              'grant_id', gen_random_uuid(), 'loan_id', gen_random_uuid()))).* FROM subsidy_grant g", "the loan of grant"),
        ("INSERT INTO subsidy_grant SELECT (jsonb_populate_record(g, jsonb_build_object(
              'grant_id', gen_random_uuid(), 'policy_id', gen_random_uuid()))).* FROM subsidy_grant g",
          "is not of the grant's policy"),
        ("INSERT INTO subsidy_grant SELECT (jsonb_populate_record(g, jsonb_build_object(
              'grant_id', gen_random_uuid(), 'policy_id', gen_random_uuid(), 'budget_id', gen_random_uuid()))).*
          FROM subsidy_grant g", "is not of the grant's policy"),
    ];
    for (sql, why) in strangers {
        let mut tx = ledger.pool.begin().await.unwrap();
        let refused = sqlx::raw_sql(sql).execute(&mut *tx).await.unwrap_err().to_string();
        assert!(refused.contains(why), "{refused} for {sql}");
    }
    for sql in [
        "DELETE FROM loan",
        "UPDATE loan SET loan_id = gen_random_uuid()",
        "DELETE FROM subsidy_grant",
        "UPDATE subsidy_grant SET budget_id = gen_random_uuid()",
        "UPDATE subsidy_grant SET loan_id = gen_random_uuid()",
        "UPDATE policy_version SET version = 7",
        "DELETE FROM policy_version",
        "TRUNCATE loan, subsidy_grant CASCADE",
        "TRUNCATE budget CASCADE",
        "TRUNCATE settlement_line CASCADE",
        "UPDATE compensation SET compensation_id = gen_random_uuid()",
        "TRUNCATE compensation CASCADE",
    ] {
        assert!(ledger.run(sql).await.contains("stays as it is"), "{sql}");
    }
    world.stop().await;
}

#[tokio::test]
async fn nothing_that_was_posted_can_be_changed() {
    let (world, ledger) = ledger().await;
    for sql in [
        "UPDATE ledger_transaction SET posted_at = now()",
        "UPDATE ledger_transaction SET amount_fen = amount_fen + 1",
        "DELETE FROM ledger_transaction",
        "TRUNCATE ledger_transaction",
    ] {
        assert!(ledger.run(sql).await.contains("the ledger is never changed"), "{sql}");
    }
    for sql in ["UPDATE policy_step SET taken_by = 'zhao'", "DELETE FROM policy_step", "TRUNCATE policy_step"] {
        assert!(ledger.run(sql).await.contains("the history of a policy is never changed"), "{sql}");
    }
    for sql in ["UPDATE ledger_posting SET amount_fen = amount_fen + 1", "DELETE FROM ledger_posting"] {
        assert!(ledger.run(sql).await.contains("ledger_posting"), "{sql}");
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
    let moved: i64 = sqlx::query_scalar("SELECT count(*) FROM ledger_transaction").fetch_one(&pool).await.unwrap();
    assert_eq!(moved, 0);
}
