//! All that a service keeps.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use crate::aside::{Aside, Row};

/// Rows that are told of a difference, of either side.
const TOLD: usize = 3;

/// Every row of every table of a service, but for what was set aside. The shell's own tables, such as inbox and outbox, are none of it.
pub struct State {
    /// Rows in order, by table.
    tables: BTreeMap<String, Vec<String>>,
}

impl State {
    /// The state as it is now.
    ///
    /// # Errors
    /// When the database fails, a message was set aside as unusable, something that is not there is set aside, or a table is empty of
    /// which that was not said.
    pub async fn of(pool: &PgPool, asides: &[Aside]) -> Result<Self> {
        let mut tx = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let dead: Vec<String> = sqlx::query_scalar("SELECT consumer || ': ' || reason FROM runtime.dead_letter")
            .fetch_all(&mut *tx)
            .await?;
        ensure!(dead.is_empty(), "not every fact could be used: {dead:#?}");
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT relname::text FROM pg_class
             WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
               AND relname <> '_sqlx_migrations'
             ORDER BY relname",
        )
        .fetch_all(&mut *tx)
        .await?;
        for aside in asides {
            ensure!(names.iter().any(|name| name == aside.table), "there is no table {}", aside.table);
        }
        let (mut tables, mut faults) = (BTreeMap::new(), Vec::new());
        for name in names {
            let mut rows = rows(&mut tx, &name).await?;
            let mut compares = true;
            for aside in asides.iter().filter(|aside| aside.table == name) {
                faults.extend(aside.leave_out(&mut rows).err().map(|fault| fault.to_string()));
                compares &= aside.compares();
            }
            if compares {
                if rows.is_empty() {
                    faults.push(format!("the history leaves nothing in {name}"));
                }
                let mut rows: Vec<String> = rows.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
                rows.sort_unstable();
                tables.insert(name, rows);
            }
        }
        ensure!(faults.is_empty(), "{faults:#?}");
        Ok(Self { tables })
    }

    /// With something else that must be the same, such as what was told or what is answered.
    #[must_use]
    pub fn with(mut self, what: &str, mut rows: Vec<String>) -> Self {
        rows.sort_unstable();
        self.tables.insert(what.to_owned(), rows);
        self
    }

    /// That another one is the same, byte for byte.
    ///
    /// # Errors
    /// When it is not; it tells the rows that only one of the two has.
    pub fn ensure_same(&self, other: &Self) -> Result<()> {
        let only = |here: &Self, there: &Self| -> Vec<String> {
            let mut found = Vec::new();
            for (table, rows) in &here.tables {
                let known = there.tables.get(table).map(Vec::as_slice).unwrap_or_default();
                found.extend(surplus(rows, known).take(TOLD).map(|row| format!("{table} {row}")));
            }
            found
        };
        let (missing, added) = (only(self, other), only(other, self));
        ensure!(
            missing.is_empty() && added.is_empty(),
            "only in the first: {missing:#?}\nonly in the other: {added:#?}"
        );
        Ok(())
    }
}

/// Rows, each as often as it is here and not there. Both are in order.
fn surplus<'a>(here: &'a [String], there: &'a [String]) -> impl Iterator<Item = &'a String> {
    let mut there = there.iter().peekable();
    here.iter().filter(move |row| {
        while there.next_if(|known| known < row).is_some() {}
        there.next_if(|known| known == row).is_none()
    })
}

async fn rows(conn: &mut PgConnection, table: &str) -> Result<Vec<Row>> {
    // The name is the database's own.
    let query = AssertSqlSafe(format!(r#"SELECT to_jsonb(kept.*)::text FROM "{table}" AS kept"#));
    let rows: Vec<String> = sqlx::query_scalar(query).fetch_all(conn).await?;
    rows.iter().map(|row| serde_json::from_str(row).context("a row is an object")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(rows: &[&str]) -> State {
        let mut rows: Vec<String> = rows.iter().map(|row| (*row).to_owned()).collect();
        rows.sort_unstable();
        State { tables: BTreeMap::from([("thing".to_owned(), rows)]) }
    }

    #[test]
    fn a_difference_tells_what_only_one_has_also_when_it_has_it_more_often() {
        let one = state(&["b", "a", "b", "c"]);
        one.ensure_same(&state(&["c", "b", "b", "a"])).unwrap();
        let told = one.ensure_same(&state(&["a", "b", "d"])).unwrap_err().to_string();
        let (first, other) = told.split_once("only in the other").unwrap();
        assert!(first.contains("thing b") && first.contains("thing c") && !first.contains("thing a"), "{told}");
        assert!(other.contains("thing d") && !other.contains("thing b"), "{told}");
    }
}
