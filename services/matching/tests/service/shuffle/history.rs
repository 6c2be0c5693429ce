//! Some of every kind of fact that matching hears of, in the order in which it happened.

use jiff::{SignedDuration, Timestamp};
use zhirong_kernel::Uscc;
use zhirong_proto::{
    catalog::v1::{
        AdjustmentState, Product, ProductPublished, ProductResumed, ProductRetired, ProductSuspended,
        product_spec::Terms,
    },
    feedback::v1::ProductScored,
    matching::v1::Order,
    profile::v1::{
        Consent, DisputedRecord, EnterpriseErased, ObjectionDecided, ObjectionRaised, ProfileUpdated, Purpose, Scope,
        feature_value::Kind,
    },
    subsidy::v1::{
        BudgetFreed, BudgetLow, BudgetSpent, CouponExpired, CouponIssued, CouponRedeemed, CouponState, FixedRate,
        PolicyRetired, policy_spec::Benefit,
    },
};
use zhirong_testkit::Event;

use crate::{
    adjustments::{adjusted, bounded},
    subsidies::{appropriated, budget, coupon, exhausted, policy, spec},
    support::{BANK, OTHER_BANK, calendar, institution, lpr, new_id, profile_of, uscc},
    targeting::{given, granted, narrowed, revoked},
};

/// Enterprises; orders are of the first two.
const ENTERPRISES: usize = 5;

/// A history after orders of a known product.
pub fn history(known: &str, orders: [&Order; 4], now: Timestamp) -> Vec<Event> {
    let (second, third, gone) = (new_id(), new_id(), new_id());
    let mut all = Vec::new();
    for version in 2..=4 {
        all.extend([BANK, OTHER_BANK, "sample-late-bank"].map(|bank| institution(bank, version)));
        all.extend([lpr(version, 30_000 + version), calendar(version)]);
    }
    all.extend(products(known, &second, &third, &gone));
    all.extend(profiles());
    all.extend(entitlements());
    all.extend(orders.into_iter().enumerate().flat_map(|(number, order)| order_consent(order, number)));
    all.extend((1..=ENTERPRISES).flat_map(offer_consents));
    all.extend((1..=ENTERPRISES).flat_map(|number| objections(&uscc(number))));
    all.extend(erasures(now));
    all
}

/// Products, better terms for some, and ratings: one goes on, one rests for a while, one rests, one is gone.
fn products(known: &str, resumed: &str, resting: &str, gone: &str) -> Vec<Event> {
    let (ended, kept, redrawn) = (new_id(), new_id(), new_id());
    let (approved, over) = (AdjustmentState::Approved, AdjustmentState::Ended);
    let mut all = vec![
        published(known, BANK, 2),
        adjusted(known, &ended, approved, 3),
        adjusted(known, &kept, approved, 4),
        adjusted(known, &ended, over, 5),
        published(known, BANK, 6),
        published(resumed, OTHER_BANK, 1),
        suspended(resumed, 1, 2),
        Event::of(resumed, &ProductResumed { product: Some(product(resumed, OTHER_BANK, 1)), sequence: 3 }),
        adjusted(resumed, &redrawn, approved, 4),
        adjusted(resumed, &redrawn, over, 5),
        published(resumed, OTHER_BANK, 6),
        published(resting, BANK, 1),
        published(resting, BANK, 2),
        suspended(resting, 2, 3),
        published(gone, OTHER_BANK, 1),
        published(gone, OTHER_BANK, 2),
        Event::of(gone, &ProductRetired { product_id: gone.to_owned(), sequence: 3 }),
    ];
    for version in 1..=3 {
        all.extend([known, resumed, gone].map(|id| {
            let (product_id, mean_level_ppm) = (id.to_owned(), 4_000_000 + version * 100_000);
            Event::of(id, &ProductScored { product_id, mean_level_ppm, rating_count: version, version })
        }));
    }
    all
}

/// One that limits are computed of, also better ones.
fn product(id: &str, bank: &str, version: i32) -> Product {
    let mut product = bounded(id);
    product.version = version;
    if let Some(spec) = &mut product.spec {
        bank.clone_into(&mut spec.institution_id);
        spec.name_zh = format!("示例贷{version}");
        if let Some(Terms::Credit(terms)) = &mut spec.terms {
            terms.preapprovable = true;
        }
    }
    product
}

fn published(id: &str, bank: &str, sequence: i32) -> Event {
    Event::of(id, &ProductPublished { product: Some(product(id, bank, sequence)), sequence: sequence.into() })
}

fn suspended(id: &str, version: i32, sequence: i64) -> Event {
    let reason = "核查".to_owned();
    Event::of(id, &ProductSuspended { product_id: id.to_owned(), version, reason, sequence })
}

/// Profiles with more patents from version to version; every other enterprise is specialised in the end.
fn profiles() -> Vec<Event> {
    let mut all = Vec::new();
    for number in 1..=ENTERPRISES {
        let enterprise = uscc(number);
        for version in 1..=4 {
            let mut profile = profile_of(&enterprise, version, version * 2);
            let specialised = Kind::Flag(version == 4 && number % 2 == 0);
            let mut flag = profile.features["is_dishonest"].clone();
            flag.kind = Some(specialised);
            profile.features.insert("is_specialised".to_owned(), flag);
            all.push(Event::of(enterprise.as_str(), &ProfileUpdated { profile: Some(profile) }));
        }
    }
    all
}

/// Policies, budgets and coupons.
fn entitlements() -> Vec<Event> {
    let (running, over, renewed) = (new_id(), new_id(), new_id());
    let rate = |rate_ppm| spec(Benefit::FixedRate(FixedRate { rate_ppm }), "ip_pledge");
    let retired = |id: &str, version| Event::of(id, &PolicyRetired { policy_id: id.to_owned(), version });
    let key = format!("{running}-2031");
    let mut all = vec![
        policy(&running, 1, rate(10_000)),
        policy(&running, 2, rate(12_000)),
        policy(&over, 1, rate(9_000)),
        retired(&over, 1),
        policy(&renewed, 1, rate(8_000)),
        retired(&renewed, 1),
        policy(&renewed, 2, rate(7_000)),
        appropriated(&running, 1),
        Event::of(&key, &BudgetLow { budget: Some(budget(&running, 5)), version: 2, threshold_ppm: 100_000 }),
        exhausted(&running, 3),
        Event::of(&key, &BudgetSpent { budget: Some(budget(&running, 0)), version: 4 }),
        Event::of(&key, &BudgetFreed { budget: Some(budget(&running, 7)), version: 5 }),
        appropriated(&over, 1),
        exhausted(&over, 2),
    ];
    for number in 1..=2 {
        let enterprise = uscc(number);
        for end in [CouponState::Held, CouponState::Redeemed, CouponState::Expired] {
            let id = new_id();
            let at = |version, state| Some(coupon(&id, &running, enterprise.as_str(), version, state));
            all.push(Event::of(&id, &CouponIssued { coupon: at(1, CouponState::Held) }));
            match end {
                CouponState::Redeemed => all.push(Event::of(&id, &CouponRedeemed { coupon: at(2, end) })),
                CouponState::Expired => all.push(Event::of(&id, &CouponExpired { coupon: at(2, end) })),
                _ => {}
            }
        }
    }
    all
}

/// The consent of an order: granted, and for the next ones narrowed or taken back as well; and one of an order elsewhere.
fn order_consent(order: &Order, number: usize) -> Vec<Event> {
    let enterprise: Uscc = order.enterprise_id.parse().unwrap();
    let consent = Consent {
        consent_id: order.order_id.clone(),
        purpose: Purpose::LoanApplication.into(),
        scope: Some(Scope { score: true, all_categories: true, ..Scope::default() }),
        ..given(&enterprise, &order.institution_id)
    };
    let elsewhere = Consent { consent_id: new_id(), ..consent.clone() };
    let less = Scope { all_categories: true, ..Scope::default() };
    let mut all = vec![granted(&elsewhere), granted(&consent)];
    match number {
        0 => all.push(narrowed(&consent, less)),
        1 => all.push(revoked(&consent)),
        2 => all.extend(narrowed_and_revoked(&consent, less)),
        _ => {}
    }
    all
}

/// Consents to offer credit, each gone another way.
fn offer_consents(number: usize) -> Vec<Event> {
    let enterprise = uscc(number);
    let [stays, less, back, both] = [BANK, BANK, OTHER_BANK, OTHER_BANK].map(|bank| given(&enterprise, bank));
    let features = Scope { all_categories: true, ..Scope::default() };
    let mut all = vec![granted(&stays), granted(&less), narrowed(&less, features.clone())];
    all.extend([granted(&back), revoked(&back), granted(&both)]);
    all.extend(narrowed_and_revoked(&both, features));
    all
}

fn narrowed_and_revoked(consent: &Consent, scope: Scope) -> [Event; 2] {
    let less = Consent { scope: Some(scope.clone()), version: 2, ..consent.clone() };
    [narrowed(consent, scope), revoked(&less)]
}

/// One that is decided, and one that is not.
fn objections(enterprise: &Uscc) -> [Event; 3] {
    let (closed, open) = (new_id(), new_id());
    let raised = |id: &str| {
        let (objection_id, category) = (id.to_owned(), "patent".to_owned());
        let fact = ObjectionRaised {
            enterprise_id: enterprise.to_string(),
            record: Some(DisputedRecord { objection_id, category, ..DisputedRecord::default() }),
            computed_values: vec!["credit_score".to_owned()],
            due_on: "2031-03-26".to_owned(),
        };
        Event::of(id, &fact)
    };
    let (objection_id, enterprise_id) = (closed.clone(), enterprise.to_string());
    let decided = ObjectionDecided { objection_id, enterprise_id, ..ObjectionDecided::default() };
    [raised(&closed), Event::of(&closed, &decided), raised(&open)]
}

/// Who has orders twice, who has none with a profile that is still on its way, and one of whom there was nothing.
fn erasures(now: Timestamp) -> Vec<Event> {
    let mut all = Vec::new();
    for (number, profile_version, version) in [(1, 2, 1), (1, 3, 2), (3, 4, 1), (4, 1, 1), (5, 0, 1)] {
        let at = now + SignedDuration::from_hours(version);
        let fact = EnterpriseErased {
            enterprise_id: uscc(number).to_string(),
            erased_at: Some(prost_types::Timestamp { seconds: at.as_second(), nanos: 0 }),
            profile_version,
            version,
        };
        all.push(Event::of(&fact.enterprise_id.clone(), &fact));
    }
    all
}
