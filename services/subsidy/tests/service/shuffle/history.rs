//! Some of every kind of fact that subsidy hears of, in the order in which it happened.

use zhirong_proto::{
    matching::v1::{
        Loan, LoanApproved, LoanDefaulted, LoanDisbursed, LoanRecovered, LoanRenewed, LoanRepaid, LoanSettled,
        LoanState, LoanTermsChanged,
    },
    profile::v1::{EnterpriseErased, Profile, ProfileUpdated},
};
use zhirong_testkit::Event;

use crate::{
    compensations::shared,
    known::employs,
    support::{disbursed, loan, lpr, uscc},
};

/// Enterprises that hold a coupon.
pub const HOLDERS: [usize; 2] = [1, 2];
/// Enterprises; the last two are erased.
const ENTERPRISES: usize = 4;

/// A loan of every course for each enterprise.
pub fn history(coupons: &[String]) -> Vec<Event> {
    let (autumn, spring) = (("2024-10-21", 31_000), ("2025-05-20", 30_000));
    // The end of the year by which is reckoned comes with the second table.
    let tables = [
        lpr(1, &[autumn], "2025-04-30"),
        lpr(2, &[autumn, spring], "2025-12-31"),
        lpr(3, &[autumn, spring, ("2026-05-20", 29_000)], "2026-06-30"),
    ];
    let mut all: Vec<Event> = tables.iter().map(|table| Event::of("lpr", table)).collect();
    all.extend((1..=ENTERPRISES).flat_map(profiles));
    for number in 1..=ENTERPRISES {
        all.push(Course::new(loan(number), number).told.remove(0));
        all.extend(repaid(number));
        all.extend(ended(number));
        all.extend(renewed(number));
    }
    for (holder, coupon_id) in HOLDERS.into_iter().zip(coupons) {
        let mut course = Course::new(Loan { coupon_id: coupon_id.clone(), ..loan(holder) }, holder);
        course.disbursed(100_000_000, "2026-03-02");
        course.repaid((0, 300_000), "2026-04-02");
        all.extend(course.told);
    }
    // Whose loss is shared is not erased: what it is judged by must still be there when the default is heard of.
    all.extend((1..=ENTERPRISES - 2).flat_map(lost));
    all.extend([(ENTERPRISES - 1, 1, 1), (ENTERPRISES - 1, 3, 2), (ENTERPRISES, 2, 1)].map(erased));
    all
}

/// The facts of one loan.
struct Course {
    loan: Loan,
    told: Vec<Event>,
}

impl Course {
    /// Approved, with what was known of the borrower: every other one employs ten.
    fn new(loan: Loan, number: usize) -> Self {
        let features = employs(if number.is_multiple_of(2) { 10 } else { 9 }).into();
        let profile_version = i64::try_from(number % 3).unwrap() + 1;
        let fact = LoanApproved { loan: Some(loan.clone()), features, profile_version };
        let told = vec![Event::of(&loan.loan_id, &fact)];
        Self { loan, told }
    }

    /// The loan after the next change.
    fn next(&mut self) -> Option<Loan> {
        self.loan.version += 1;
        Some(self.loan.clone())
    }

    fn tell<F: zhirong_proto::Fact>(&mut self, fact: &F) {
        self.told.push(Event::of(&self.loan.loan_id, fact));
    }

    fn disbursed(&mut self, amount_fen: i64, on: &str) {
        self.loan = disbursed(&self.loan, amount_fen, on);
        let fact = LoanDisbursed { loan: Some(self.loan.clone()) };
        self.tell(&fact);
    }

    fn repaid(&mut self, (principal_fen, interest_fen): (i64, i64), on: &str) {
        let (loan, paid_on) = (self.next(), on.to_owned());
        self.tell(&LoanRepaid { loan, principal_fen, interest_fen, paid_on, overdue: false });
    }

    fn settled(&mut self, on: &str) {
        self.loan.state = LoanState::Settled.into();
        let fact = LoanSettled { loan: self.next(), settled_on: on.to_owned() };
        self.tell(&fact);
    }
}

/// Less is paid out than was approved; interest and principal come back, and the terms change twice.
fn repaid(number: usize) -> Vec<Event> {
    let mut course = Course::new(loan(number), number);
    course.disbursed(80_000_000, "2026-03-05");
    course.repaid((0, 250_000), "2026-04-05");
    course.repaid((20_000_000, 200_000), "2026-05-05");
    for (rate_ppm, matures_on, on) in [(40_000, "2027-03-05", "2026-05-10"), (40_000, "2027-06-05", "2026-05-20")] {
        (course.loan.rate_ppm, course.loan.matures_on) = (rate_ppm, matures_on.to_owned());
        let fact = LoanTermsChanged { loan: course.next(), effective_on: on.to_owned() };
        course.tell(&fact);
    }
    course.repaid((10_000_000, 150_000), "2026-06-05");
    course.told
}

/// All is paid back, by every other one too early to have earned anything.
fn ended(number: usize) -> Vec<Event> {
    let mut course = Course::new(loan(number), number);
    course.disbursed(100_000_000, "2026-03-03");
    let on = if number.is_multiple_of(2) { "2026-03-20" } else { "2026-06-20" };
    course.repaid((100_000_000, 300_000), on);
    course.settled(on);
    course.told
}

/// Another loan takes its place.
fn renewed(number: usize) -> Vec<Event> {
    let mut course = Course::new(loan(number), number);
    let mut next = Course::new(Loan { renews_loan_id: course.loan.loan_id.clone(), ..loan(number) }, number);
    course.disbursed(60_000_000, "2026-03-04");
    course.repaid((0, 100_000), "2026-05-04");
    course.loan.renewed_by_loan_id.clone_from(&next.loan.loan_id);
    course.settled("2026-06-04");
    let fact = LoanRenewed { loan: course.next(), renewed_by_loan_id: next.loan.loan_id.clone() };
    let event = Event::of(&course.loan.loan_id, &fact);
    course.told.push(event.with("ce-time", "2026-06-04T08:00:00Z"));
    next.disbursed(60_000_000, "2026-06-04");
    [course.told, next.told].concat()
}

/// In default, and some of it comes back.
fn lost(number: usize) -> Vec<Event> {
    let mut course = Course::new(shared(number), number);
    course.disbursed(100_000_000, "2026-03-06");
    course.repaid((1_000_000 * i64::try_from(number).unwrap(), 300_000), "2026-04-06");
    course.loan.state = LoanState::Defaulted.into();
    course.loan.outstanding_fen = 100_000_000 - 1_000_000 * i64::try_from(number).unwrap();
    let defaulted_on = "2026-06-01".to_owned();
    let fact = LoanDefaulted { loan: course.next(), defaulted_on, overdue_interest_fen: 123_456 };
    course.tell(&fact);
    for (recovered_fen, on) in [(3_333_333, "2026-07-01"), (7_777_777, "2026-08-01")] {
        let fact = LoanRecovered { loan: course.next(), recovered_fen, recovered_on: on.to_owned() };
        course.tell(&fact);
    }
    course.told
}

/// Names and features come and go.
fn profiles(number: usize) -> Vec<Event> {
    let told = (1..=3_i64).map(|version| {
        let features = if version % 2 == 0 { employs(version * 3).into() } else { [].into() };
        let name = format!("示例企业{number}之{version}");
        let profile = Profile { enterprise_id: uscc(number), name, version, features, ..Profile::default() };
        Event::of(&uscc(number), &ProfileUpdated { profile: Some(profile) })
    });
    told.collect()
}

fn erased((number, profile_version, version): (usize, i64, i64)) -> Event {
    let enterprise_id = uscc(number);
    let fact = EnterpriseErased { enterprise_id, profile_version, version, ..EnterpriseErased::default() };
    Event::of(&fact.enterprise_id.clone(), &fact)
}
