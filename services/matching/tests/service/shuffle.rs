//! Whatever the order in which the other services are heard, and however often: what is kept in the end is the same, byte for byte.

mod history;

use anyhow::Result;
use zhirong_kernel::Clock as _;
use zhirong_proto::matching::v1::Preapproval;
use zhirong_testkit::{Aside, Deliveries, State, any_order_ends_the_same, blanked, eventually};

use self::history::history;
use crate::support::{BANK, PATIENCE, World, acceptance, approval, as_bank, profile, rejection, uscc};

/// What depends on the way.
const ASIDES: [Aside; 16] = [
    Aside::columns("catalog_version", &["version"], "counts the changes of the catalog as they came"),
    Aside::older(
        "catalog_log",
        &["kind", "key"],
        "version",
        "a change is kept as of the version that it made when it came",
    ),
    Aside::columns("coupon_holder", &["version"], "counts the changes of what is held as they came"),
    Aside::older("coupon_log", &["enterprise_id"], "version", "what was held is kept as of each change when it came"),
    Aside::columns("profile", &["changed_at"], "the clock's stamp, by which replicas follow each other"),
    Aside::columns("preapproval", &["version"], "counts how often limits were computed to something else"),
    Aside::within("preapproval", "content", limits, "of which versions limits were first computed as they are"),
    Aside::columns("preapproval_followed", &["catalog_version"], "counts the changes of the catalog as they came"),
    Aside::columns(
        "inbox_entry",
        &["position"],
        "orders of two enterprises come once more in the order of the erasures",
    ),
    Aside::untouched("preapproval_due", "all is computed"),
    Aside::table("preapproval_version", "what each version on the way rests on"),
    Aside::untouched("calculation", "only who asks the calculator is noted"),
    Aside::untouched("calculation_kept", "only who asks the calculator is answered"),
    Aside::untouched("candidate_named", "only who asks for candidates is told names"),
    Aside::untouched("disclosure_made", "only who reads the inbox is shown more"),
    Aside::untouched("disclosure_refused", "only from who reads the inbox something is withheld"),
];

fn limits(content: &[u8]) -> Result<Vec<u8>> {
    blanked(content, |kept: &mut Preapproval| {
        (kept.version, kept.profile_version, kept.catalog_version) = (0, 0, 0);
    })
}

/// Until everybody's limits are those of the newest catalog.
async fn settled(world: &World) -> Result<()> {
    eventually(PATIENCE, "all limits are computed", || async {
        let settled = sqlx::query_scalar(
            "SELECT NOT EXISTS (SELECT FROM preapproval_due)
                AND (SELECT version FROM catalog_version) = (SELECT catalog_version FROM preapproval_followed)",
        );
        let settled: bool = settled.fetch_one(&world.pool).await?;
        Ok(settled.then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn any_order_ends_the_same_for_all_that_is_heard() {
    let (world, product, first) = World::ready().await;
    let second = uscc(2);
    world.deliver(Deliveries::new([profile(&second, 1, 3)])).await;
    let open = world.place(&first, &product).await;
    let accepted = world.place(&second, &product).await;
    world.banks().accept_order(as_bank(BANK, acceptance(&accepted))).await.unwrap();
    let lent = world.place(&first, &product).await;
    world.approve(approval(&lent, "REF-1")).await;
    let lost = world.place(&first, &product).await;
    world.banks().reject_order(as_bank(BANK, rejection(&lost))).await.unwrap();
    let now = world.clock.now();
    let left = world.stop().await;

    let history = history(&product, [&open, &accepted, &lent, &lost], now);
    any_order_ends_the_same(&history, async |deliveries| {
        let world = World::after(&left).await;
        world.deliver(deliveries).await;
        settled(&world).await?;
        let end = State::of(&world.pool, &ASIDES).await?;
        world.stop().await;
        Ok(end)
    })
    .await
    .unwrap();
}
