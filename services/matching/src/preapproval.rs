//! Pre-approved credit (无感授信): what an enterprise may have of the products that allow computing before anybody asks. Pure.

use jiff::civil::Date;
use zhirong_proto::{
    matching::v1::{CalculateRequest, PreapprovedLimit},
    profile::v1::Profile,
};

use crate::{
    adjust::{in_time, offered},
    answer::row,
    calculate::{Verdict, judge},
    error::Error,
    product::CompiledProduct,
    snapshot::Catalog,
};

pub mod keep;

/// The limits of an enterprise: the largest first, then the cheapest, then by product.
///
/// # Errors
/// [`Error::LprUnknown`].
pub fn limits(catalog: &Catalog, profile: &Profile, day: Date) -> Result<Vec<PreapprovedLimit>, Error> {
    of(catalog, catalog.products.values().map(AsRef::as_ref), profile, day)
}

fn of<'a>(
    catalog: &Catalog,
    products: impl Iterator<Item = &'a CompiledProduct>,
    profile: &Profile,
    day: Date,
) -> Result<Vec<PreapprovedLimit>, Error> {
    let wish = CalculateRequest::default();
    let row = row(catalog, profile, &wish, day)?;
    let mut found: Vec<_> = products
        .filter(|product| product.terms.preapprovable)
        .filter_map(|product| match judge(product, &row) {
            Verdict::Eligible { limit_fen, rate_ppm } if limit_fen > 0 => {
                let terms = offered(catalog, product, profile, &wish, day, (limit_fen, rate_ppm));
                Some(PreapprovedLimit {
                    product_id: product.product.product_id.clone(),
                    product_version: product.product.version,
                    institution_id: product.institution_id.clone(),
                    product_name_zh: product.name_zh.clone(),
                    institution_name_zh: catalog.institution_name(&product.institution_id).to_owned(),
                    limit_fen: terms.limit_fen,
                    rate_ppm: terms.rate_ppm,
                })
            }
            _ => None,
        })
        .collect();
    found.sort_by(|a, b| (b.limit_fen, a.rate_ppm, &a.product_id).cmp(&(a.limit_fen, b.rate_ppm, &b.product_id)));
    Ok(found)
}

/// What has changed between two catalogs, each on its day, as far as pre-approval is concerned.
pub struct Change<'a> {
    before: (&'a Catalog, Date),
    after: (&'a Catalog, Date),
    /// Products that are to be compared.
    products: Vec<&'a str>,
}

impl<'a> Change<'a> {
    /// Compares two catalogs. A change of the LPR concerns every product; a change of a product, of its adjustments that are in
    /// time, or of its institution's name concerns that product.
    ///
    /// # Errors
    /// [`Error::LprUnknown`].
    pub fn between(before: (&'a Catalog, Date), after: (&'a Catalog, Date)) -> Result<Self, Error> {
        let repriced = before.0.one_year_lpr(before.1)? != after.0.one_year_lpr(after.1)?;
        let shown = |(catalog, day): (&'a Catalog, Date), id: &str| {
            let product = catalog.products.get(id).filter(|product| product.terms.preapprovable)?;
            let adjustments: Vec<_> = in_time(catalog, id, day).collect();
            Some((&product.product, adjustments, catalog.institution_name(&product.institution_id)))
        };
        let mut ids: Vec<&str> = before.0.products.keys().chain(after.0.products.keys()).map(String::as_str).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.retain(|id| {
            let (old, new) = (shown(before, id), shown(after, id));
            old != new || (repriced && new.is_some())
        });
        Ok(Self { before, after, products: ids })
    }

    /// Whether nobody can be concerned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.products.is_empty()
    }

    /// Whether the change gives an enterprise other limits than before.
    ///
    /// # Errors
    /// [`Error::LprUnknown`].
    pub fn concerns(&self, profile: &Profile) -> Result<bool, Error> {
        let limits = |(catalog, day): (&Catalog, Date)| {
            let products = self.products.iter().filter_map(|id| catalog.products.get(*id)).map(AsRef::as_ref);
            of(catalog, products, profile, day)
        };
        Ok(limits(self.before)? != limits(self.after)?)
    }
}
