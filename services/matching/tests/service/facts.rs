//! What matching keeps of the other services: the newest, in whichever order and however often it comes, and nothing broken.

use zhirong_proto::{
    catalog::v1::{LprChange, LprTable, ProductRetired, WorkingDayCalendar},
    feedback::v1::ProductScored,
    matching::v1::Offer,
    profile::v1::{Profile, ProfileUpdated},
};
use zhirong_testkit::{Deliveries, Event, eventually};

use crate::support::{
    BANK, PATIENCE, World, as_enterprise, as_staff, calendar, institution, lpr, lpr_table, new_id, order, profile,
    published, uscc, wish, working_days,
};

/// The offers once the calculator computes from everything that has come in.
async fn offers(world: &World, enterprise: &zhirong_kernel::Uscc) -> (i64, Vec<Offer>) {
    let version = world.count("SELECT version FROM catalog_version").await;
    eventually(PATIENCE, "the newest catalog is computed", || async {
        let answer = world.calculator().calculate(as_enterprise(enterprise, wish())).await?.into_inner();
        Ok((answer.catalog_version == version).then_some((answer.profile_version, answer.offers)))
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn the_newest_stays_whatever_the_order_of_arrival() {
    for seed in 1..=3 {
        let world = World::empty(1).await;
        let (enterprise, kept, gone) = (uscc(1), new_id(), new_id());
        let scored = |version: i64| {
            let (product_id, mean_level_ppm) = (kept.clone(), version * 100_000);
            Event::of(&kept, &ProductScored { product_id, mean_level_ppm, rating_count: version, version })
        };
        let mut facts = Vec::new();
        for version in 1..=6 {
            facts.push(profile(&enterprise, version, version));
            facts.push(institution(BANK, version));
            facts.push(lpr(version, 30_000 + version));
            facts.push(calendar(version));
            facts.push(scored(version));
        }
        facts.extend((1..=6).map(|sequence| published(&kept, BANK, sequence)));
        facts.extend((1..=6).map(|sequence| published(&gone, BANK, sequence)));
        facts.push(Event::of(&gone, &ProductRetired { product_id: gone.clone(), sequence: 7 }));
        world.deliver(Deliveries::new(facts).twice().shuffled(seed)).await;

        let (profile_version, offers) = offers(&world, &enterprise).await;
        assert_eq!((profile_version, offers.len()), (6, 1), "seed {seed}");
        let offer = &offers[0];
        assert_eq!((&offer.product_id, offer.product_version), (&kept, 6), "seed {seed}");
        assert_eq!((offer.product_name_zh.as_str(), offer.institution_name_zh.as_str()), ("示例贷6", "示例银行6"));
        let Some(zhirong_proto::matching::v1::offer::Outcome::Eligible(eligible)) = &offer.outcome else {
            panic!("{offer:?}")
        };
        assert_eq!((eligible.limit_fen, eligible.rate_ppm), (60_000_000, 35_006), "seed {seed}");
        assert_eq!(world.count("SELECT mean_level_ppm FROM product_score").await, 600_000, "seed {seed}");
        assert_eq!(world.count("SELECT count(*) FROM runtime.dead_letter").await, 0, "seed {seed}");
        world.stop().await;
    }
}

#[tokio::test]
async fn what_can_not_be_used_is_set_aside_and_changes_nothing() {
    let (world, product, enterprise) = World::ready().await;
    let before = offers(&world, &enterprise).await;
    let change =
        |published_on: &str| LprChange { published_on: published_on.to_owned(), one_year_ppm: 1, five_year_ppm: 1 };
    let table = |changes, known_through: &str| LprTable { changes, known_through: known_through.to_owned() };
    let days = |years: &[i32], holiday: &str| WorkingDayCalendar {
        years: years.to_vec(),
        holidays: vec![holiday.to_owned()],
        ..WorkingDayCalendar::default()
    };
    let nobody = ProfileUpdated {
        profile: Some(Profile { enterprise_id: "91330000000000000X".to_owned(), version: 9, ..Profile::default() }),
    };
    let facts = [
        lpr_table(9, table(vec![change("yesterday")], "2031-03-19")),
        lpr_table(9, table(vec![change("2031-01-20"), change("2030-01-20")], "2031-03-19")),
        lpr_table(9, LprTable::default()),
        working_days(9, days(&[2031], "2031-13-01")),
        working_days(9, days(&[2031], "2032-01-01")),
        working_days(9, days(&[99_999], "2031-01-01")),
        institution("No_Slug", 1),
        Event::of("x", &ProductRetired { product_id: "x".to_owned(), sequence: 9 }),
        Event::of("x", &nobody),
        Event::of("x", &ProfileUpdated::default()),
    ];
    let count = i64::try_from(facts.len()).unwrap();
    world.deliver(Deliveries::new(facts)).await;
    assert_eq!(world.count("SELECT count(*) FROM runtime.dead_letter").await, count);
    assert_eq!(offers(&world, &enterprise).await, before);
    world.place(&enterprise, &product).await;
    world.stop().await;
}

#[tokio::test]
async fn a_retired_product_takes_no_order() {
    let (world, product, enterprise) = World::ready().await;
    let retired = ProductRetired { product_id: product.clone(), sequence: 2 };
    world.deliver(Deliveries::new([Event::of(&product, &retired)])).await;
    let request = as_enterprise(&enterprise, order(&product, 10_000_000));
    assert_eq!(crate::support::reason(world.orders().place_order(request).await).1, "PRODUCT_NOT_FOUND");
    let staff = zhirong_proto::matching::v1::CalculateRequest { enterprise_id: enterprise.to_string(), ..wish() };
    eventually(PATIENCE, "it leaves the calculator", || async {
        let answer = world.calculator().calculate(as_staff(staff.clone())).await?.into_inner();
        Ok(answer.offers.is_empty().then_some(()))
    })
    .await
    .unwrap();
    world.stop().await;
}
