//! Matching's part of the outcome report: which day something counts on.

use jiff::civil::{Date, date};
use tonic::Code;
use zhirong_proto::matching::v1::{
    GetInstitutionOutcomesRequest, GetMatchingOutcomeRequest, GetMatchingOutcomeResponse, InstitutionOutcome,
};
use zhirong_testkit::{Deliveries, eventually};

use crate::support::{
    BANK, PATIENCE, TODAY, World, approval, as_bank, as_enterprise, as_staff, at, calendar, disbursement, lpr, profile,
    reason, rejection, uscc, wish,
};

fn period(from: &str, to: &str) -> GetMatchingOutcomeRequest {
    GetMatchingOutcomeRequest { from: from.to_owned(), to: to.to_owned() }
}

async fn outcome(world: &World, from: Date, to: Date) -> GetMatchingOutcomeResponse {
    let request = period(&from.to_string(), &to.to_string());
    world.reports().get_matching_outcome(as_staff(request)).await.unwrap().into_inner()
}

#[tokio::test]
async fn the_first_and_the_last_moment_of_a_day_belong_to_it() {
    let (world, product, enterprise) = World::ready().await;
    let (day, next) = (TODAY, date(2031, 3, 6));
    let last_moment = at(next, 0) - jiff::SignedDuration::from_nanos(1000);
    world.clock.set(at(day, 0));
    world.calculator().calculate(as_enterprise(&enterprise, wish())).await.unwrap();
    world.calculator().calculate(as_enterprise(&enterprise, wish())).await.unwrap();
    let (one, two) = (world.place(&enterprise, &product).await, world.place(&enterprise, &product).await);
    world.clock.set(last_moment);
    let three = world.place(&enterprise, &product).await;
    let loan = world.approve(approval(&one, "REF-1")).await;
    world.banks().reject_order(as_bank(BANK, rejection(&two))).await.unwrap();
    world.clock.set(at(next, 0));
    world.approve(approval(&three, "REF-2")).await;
    // Told on the next day, but of this day's value.
    world.banks().record_disbursement(as_bank(BANK, disbursement(&loan, 7_000_000, day))).await.unwrap();

    let none = GetMatchingOutcomeResponse::default();
    let of_the_day = GetMatchingOutcomeResponse {
        computed_enterprises: 1,
        orders_placed: 3,
        orders_rejected: 1,
        loans_approved: 1,
        approved_fen: 8_000_000,
        loans_disbursed: 1,
        disbursed_fen: 7_000_000,
        enterprises_with_loan: 1,
        institutions_with_loan: 1,
        ..none
    };
    let of_the_next = GetMatchingOutcomeResponse {
        loans_approved: 1,
        approved_fen: 8_000_000,
        enterprises_with_loan: 1,
        institutions_with_loan: 1,
        ..none
    };
    assert_eq!(outcome(&world, date(2031, 3, 1), date(2031, 3, 4)).await, none);
    assert_eq!(outcome(&world, day, day).await, of_the_day);
    assert_eq!(outcome(&world, next, next).await, of_the_next);
    assert_eq!(outcome(&world, date(2031, 3, 7), date(2031, 3, 31)).await, none);
    let both = GetMatchingOutcomeResponse { loans_approved: 2, approved_fen: 16_000_000, ..of_the_day };
    assert_eq!(outcome(&world, day, next).await, both);
    world.stop().await;
}

#[tokio::test]
async fn what_each_institution_lent_is_told_by_itself() {
    let (world, product, enterprise) = World::ready().await;
    let lent = async |day: Date| {
        let request = GetInstitutionOutcomesRequest { from: day.to_string(), to: day.to_string() };
        let answer = world.institution_reports().get_institution_outcomes(as_staff(request)).await.unwrap();
        answer.into_inner().institutions
    };
    assert_eq!(lent(TODAY).await, []);
    let order = world.place(&enterprise, &product).await;
    let loan = world.approve(approval(&order, "REF-1")).await;
    let next = date(2031, 3, 6);
    world.clock.set(at(next, 9));
    world.banks().record_disbursement(as_bank(BANK, disbursement(&loan, 7_000_000, next))).await.unwrap();
    let figures = |loans_approved, approved_fen, loans_disbursed, disbursed_fen| InstitutionOutcome {
        institution_id: BANK.to_owned(),
        loans_approved,
        approved_fen,
        loans_disbursed,
        disbursed_fen,
    };
    assert_eq!(lent(TODAY).await, [figures(1, 8_000_000, 0, 0)]);
    assert_eq!(lent(next).await, [figures(0, 0, 1, 7_000_000)]);
    assert_eq!(lent(date(2031, 3, 7)).await, []);
    world.stop().await;
}

#[tokio::test]
async fn who_got_no_answer_has_not_computed() {
    let world = World::empty(1).await;
    let enterprise = uscc(1);
    world.deliver(Deliveries::new([profile(&enterprise, 1, 5), calendar(1)])).await;
    let refused = reason(world.calculator().calculate(as_enterprise(&enterprise, wish())).await);
    assert_eq!(refused, (Code::FailedPrecondition, "LPR_UNKNOWN".to_owned()));
    assert_eq!(outcome(&world, TODAY, TODAY).await.computed_enterprises, 0);
    world.deliver(Deliveries::new([lpr(1, 30_000)])).await;
    eventually(PATIENCE, "the LPR is known", || async {
        Ok(world.calculator().calculate(as_enterprise(&enterprise, wish())).await.ok())
    })
    .await
    .unwrap();
    assert_eq!(outcome(&world, TODAY, TODAY).await.computed_enterprises, 1);
    world.stop().await;
}

#[tokio::test]
async fn a_period_is_two_dates_in_order() {
    let world = World::empty(1).await;
    for (from, to) in [("2031-03-05", "2031-03-04"), ("2031-02-30", "2031-03-04"), ("2031-03-04", ""), ("", "")] {
        let refused = reason(world.reports().get_matching_outcome(as_staff(period(from, to))).await);
        assert_eq!(refused, (Code::InvalidArgument, "PERIOD_INVALID".to_owned()), "{from} {to}");
    }
    world.stop().await;
}
