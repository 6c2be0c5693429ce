//! What records say of enterprises whose profiles are computed again: read as a whole, or where something has changed and otherwise
//! taken from the profile before.

use std::collections::BTreeMap;

use jiff::civil::Date;
use prost::Message as _;
use sqlx::PgConnection;
use zhirong_proto::profile::v1::Profile;

use super::Rules;
use crate::{
    error::Error,
    extent::{Extent, Feeds},
    profile::Said,
    store::{
        live,
        profiles::{self, Stale},
    },
};

/// Of each profile, in their order, what it was before and what is said now.
pub async fn said(
    conn: &mut PgConnection,
    stale: &[Stale],
    rules: &Rules,
    today: Date,
) -> Result<Vec<(Profile, Said)>, Error> {
    let feeds = Feeds::new(&rules.categories);
    let extents: Vec<(&Stale, Extent)> =
        stale.iter().map(|of| (of, feeds.extent(&of.standing, today, rules.declaration))).collect();
    let (mut whole, mut parts, mut pairs) = (Vec::new(), Vec::new(), Vec::new());
    for (of, extent) in &extents {
        let enterprise = of.enterprise_id.as_str();
        match extent {
            Extent::Whole => whole.push(enterprise),
            Extent::Part(part) => {
                parts.push(enterprise);
                pairs.extend(part.categories.keys().map(|category| (enterprise, category.as_str())));
            }
        }
    }
    let mut records = live::of_enterprises(conn, &whole).await?;
    records.extend(live::of_categories(conn, &pairs).await?);
    let mut kept = if parts.is_empty() { BTreeMap::new() } else { profiles::provenance(conn, &parts).await? };
    let mut said = Vec::with_capacity(extents.len());
    for (of, extent) in extents {
        let records = records.get(&of.enterprise_id).map(Vec::as_slice).unwrap_or_default();
        let before = Profile::decode(of.content.as_slice())?;
        let now = match extent {
            Extent::Whole => Said::by(&rules.categories, records, today),
            Extent::Part(part) => {
                let provenance = kept.remove(&of.enterprise_id).unwrap_or_default();
                let now = Said::by(&part.categories, records, today);
                part.renew(&feeds, Said::before(&before, provenance), now)
            }
        };
        said.push((before, now));
    }
    Ok(said)
}

#[cfg(test)]
mod history;
#[cfg(test)]
mod tests;
