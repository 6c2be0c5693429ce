//! The rate coupon (利率优惠券) that an offer could be taken with. Pure, so that an answer can be computed again.

use jiff::{Span, civil::Date};
use zhirong_proto::{
    matching::v1::ExpectedCoupon,
    subsidy::v1::{Coupon, Policy},
};

use crate::{product::CompiledProduct, snapshot::Catalog, subsidy::Basis};

const MILLION: i128 = 1_000_000;

/// What an enterprise holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Held {
    /// Counts its changes; 0 when it never held one.
    pub version: i64,
    /// In order of id.
    pub coupons: Vec<Coupon>,
}

/// The coupon that saves most on a product, with the policy that pays; at a tie the first by id. One whose budget is empty is
/// left out.
#[must_use]
pub fn best<'a>(
    catalog: &'a Catalog,
    held: &Held,
    product: &CompiledProduct,
    basis: Basis,
) -> Option<(ExpectedCoupon, &'a Policy)> {
    let usable = held.coupons.iter().filter(|coupon| fits(coupon, product, basis.day));
    let saving = usable.filter_map(|coupon| {
        let policy = catalog.policies.iter().find(|policy| policy.policy_id == coupon.policy_id)?;
        let funded = catalog.funded.contains(&(coupon.policy_id.clone(), basis.day.year()));
        let expected = expected(coupon, basis).filter(|_| funded)?;
        Some((expected, policy))
    });
    saving.reduce(|best, next| if next.0.saved_fen > best.0.saved_fen { next } else { best })
}

/// Whether a coupon may be used on a product today.
#[must_use]
pub fn fits(coupon: &Coupon, product: &CompiledProduct, day: Date) -> bool {
    let tags = product.product.spec.as_ref().map(|spec| spec.tags.as_slice()).unwrap_or_default();
    let valid_until: Option<Date> = coupon.valid_until.parse().ok();
    valid_until.is_some_and(|last| day <= last)
        && coupon.required_product_tags.iter().all(|tag| tags.contains(tag))
        && (coupon.product_ids.is_empty() || coupon.product_ids.contains(&product.product.product_id))
}

fn expected(coupon: &Coupon, basis: Basis) -> Option<ExpectedCoupon> {
    let rate_cut_ppm = coupon.rate_cut_ppm.min(basis.rate_ppm);
    let months = basis.term_months.min(coupon.max_months);
    let until = basis.day.checked_add(Span::new().try_months(months).ok()?).ok()?;
    let days = basis.day.until(until).ok()?.get_days();
    let unit = MILLION.checked_mul(i128::from(coupon.day_count_days.max(1)))?;
    let principal = basis.principal_fen.min(coupon.principal_cap_fen);
    let exact = i128::from(principal).checked_mul(rate_cut_ppm.into())?.checked_mul(days.into())?;
    let saved = i64::try_from(exact.checked_add(unit / 2)?.checked_div(unit)?).ok()?;
    let saved_fen = saved.min(coupon.cap_per_loan_fen).min(basis.interest_fen);
    (saved_fen > 0).then(|| ExpectedCoupon {
        coupon_id: coupon.coupon_id.clone(),
        rate_cut_ppm,
        saved_fen,
        valid_until: coupon.valid_until.clone(),
    })
}
