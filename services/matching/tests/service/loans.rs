//! The life of a loan after it was paid out.

use jiff::civil::{Date, date};
use tonic::Code;
use zhirong_kernel::Uscc;
use zhirong_proto::matching::v1::{
    ApproveLoanRequest, ChangeLoanTermsRequest, GetLoanRequest, Guarantee, IpKind, IpPledge, ListLoansRequest, Loan,
    LoanApproved, LoanDefaulted, LoanRecovered, LoanRenewed, LoanRepaid, LoanSettled, LoanState, LoanTermsChanged,
    RecordDefaultRequest, RecordRecoveryRequest, RecordRepaymentRequest, RiskBearer, RiskShare, get_loan_request::Key,
};

use crate::support::{
    BANK, OTHER_BANK, TODAY, World, approval, as_bank, as_enterprise, as_staff, at, disbursement, new_id, reason,
    refusal, uscc,
};

const LATER: Date = date(2031, 6, 5);
const LENT: i64 = 8_000_000;

fn repayment(loan: &Loan, principal_fen: i64, interest_fen: i64, day: Date) -> RecordRepaymentRequest {
    let (request_id, loan_id) = (new_id(), loan.loan_id.clone());
    RecordRepaymentRequest {
        request_id,
        loan_id,
        principal_fen,
        interest_fen,
        paid_on: day.to_string(),
        overdue: false,
    }
}

fn terms(loan: &Loan, rate_ppm: Option<i64>, matures_on: &str, day: Date) -> ChangeLoanTermsRequest {
    ChangeLoanTermsRequest {
        request_id: new_id(),
        loan_id: loan.loan_id.clone(),
        rate_ppm,
        matures_on: matures_on.to_owned(),
        effective_on: day.to_string(),
    }
}

fn default(loan: &Loan, overdue_interest_fen: i64, day: Date) -> RecordDefaultRequest {
    let (request_id, loan_id) = (new_id(), loan.loan_id.clone());
    RecordDefaultRequest { request_id, loan_id, defaulted_on: day.to_string(), overdue_interest_fen }
}

fn recovery(loan: &Loan, recovered_fen: i64, day: Date) -> RecordRecoveryRequest {
    let (request_id, loan_id) = (new_id(), loan.loan_id.clone());
    RecordRecoveryRequest { request_id, loan_id, recovered_fen, recovered_on: day.to_string() }
}

/// A loan just paid out, three months ago.
async fn lent() -> (World, String, Uscc, Loan) {
    let (world, product, enterprise) = World::ready().await;
    let order = world.place(&enterprise, &product).await;
    let loan = world.approve(approval(&order, "REF-1")).await;
    let loan = pay_out(&world, &loan, TODAY).await;
    assert_eq!((loan.state(), loan.outstanding_fen, loan.version), (LoanState::Disbursed, LENT, 2));
    (world, product, enterprise, loan)
}

async fn pay_out(world: &World, loan: &Loan, day: Date) -> Loan {
    let paid = world.banks().record_disbursement(as_bank(BANK, disbursement(loan, loan.amount_fen, day))).await;
    paid.unwrap().into_inner().loan.unwrap()
}

async fn stored(world: &World, loan: &Loan) -> Loan {
    let key = Some(Key::LoanId(loan.loan_id.clone()));
    world.banks().get_loan(as_bank(BANK, GetLoanRequest { key })).await.unwrap().into_inner().loan.unwrap()
}

#[tokio::test]
async fn a_loan_is_paid_back_in_parts_and_settles_with_the_last() {
    let (world, _, _, loan) = lent().await;
    world.clock.set(at(LATER, 10));
    let first = repayment(&loan, 3_000_000, 40_000, date(2031, 4, 5));
    let after = world.loans().record_repayment(as_bank(BANK, first.clone())).await.unwrap().into_inner().loan.unwrap();
    assert_eq!((after.state(), after.outstanding_fen, after.version), (LoanState::Disbursed, 5_000_000, 3));
    // Told twice, it counts once.
    let again = world.loans().record_repayment(as_bank(BANK, first)).await.unwrap().into_inner().loan.unwrap();
    assert_eq!(again, after);
    assert_eq!(stored(&world, &loan).await, after);

    let pay = async |principal, interest, day| {
        reason(world.loans().record_repayment(as_bank(BANK, repayment(&loan, principal, interest, day))).await)
    };
    let failed = |reason: &str| (Code::FailedPrecondition, reason.to_owned());
    assert_eq!(pay(5_000_001, 0, LATER).await, failed("ABOVE_OUTSTANDING"));
    assert_eq!(pay(1, 0, date(2031, 4, 4)).await, failed("DATE_OUT_OF_ORDER"));
    assert_eq!(pay(1, 0, date(2031, 6, 6)).await, (Code::InvalidArgument, "DATE_OUT_OF_BOUNDS".to_owned()));
    assert_eq!(pay(0, i64::MAX, LATER).await, (Code::InvalidArgument, "AMOUNT_TOO_LARGE".to_owned()));
    assert_eq!(stored(&world, &loan).await, after);

    let last = world.loans().record_repayment(as_bank(BANK, repayment(&loan, 5_000_000, 10_000, LATER))).await;
    let settled = last.unwrap().into_inner().loan.unwrap();
    assert_eq!((settled.state(), settled.outstanding_fen, settled.interest_paid_fen), (LoanState::Settled, 0, 50_000));
    assert_eq!(pay(0, 1, LATER).await, failed("LOAN_CLOSED"));
    let lost = world.loans().record_default(as_bank(BANK, default(&loan, 0, LATER))).await;
    assert_eq!(reason(lost), failed("LOAN_CLOSED"));

    let repaid: Vec<_> = world.announced::<LoanRepaid>().await;
    let told = |fact: &LoanRepaid| (fact.principal_fen, fact.interest_fen, fact.loan.as_ref().unwrap().version);
    assert_eq!(repaid.iter().map(told).collect::<Vec<_>>(), [(3_000_000, 40_000, 3), (5_000_000, 10_000, 4)]);
    let settlements = world.announced::<LoanSettled>().await;
    assert_eq!(settlements, [LoanSettled { loan: Some(settled), settled_on: LATER.to_string() }]);
    world.stop().await;
}

#[tokio::test]
async fn terms_change_from_a_day_on() {
    let (world, _, _, loan) = lent().await;
    world.clock.set(at(LATER, 10));
    let change = async |request| world.loans().change_loan_terms(as_bank(BANK, request)).await;
    let changed = change(terms(&loan, Some(30_000), "2032-09-05", LATER)).await.unwrap().into_inner().loan.unwrap();
    assert_eq!((changed.rate_ppm, changed.matures_on.as_str(), changed.version), (30_000, "2032-09-05", 3));
    assert_eq!(stored(&world, &loan).await, changed);
    let nothing = reason(change(terms(&loan, Some(30_000), "", LATER)).await);
    assert_eq!(nothing, (Code::FailedPrecondition, "NOTHING_CHANGES".to_owned()));
    let wrong = refusal(change(terms(&loan, Some(360_001), LATER.to_string().as_str(), LATER)).await);
    assert_eq!((wrong.code, wrong.fields), (Code::InvalidArgument, vec!["rate_ppm".into(), "matures_on".into()]));
    let facts = world.announced::<LoanTermsChanged>().await;
    assert_eq!(facts, [LoanTermsChanged { loan: Some(changed), effective_on: LATER.to_string() }]);
    world.stop().await;
}

#[tokio::test]
async fn a_default_is_followed_by_recoveries() {
    let (world, _, _, loan) = lent().await;
    world.clock.set(at(LATER, 10));
    let early = world.loans().record_recovery(as_bank(BANK, recovery(&loan, 1, LATER))).await;
    assert_eq!(reason(early), (Code::FailedPrecondition, "LOAN_NOT_DEFAULTED".to_owned()));
    let lost = world.loans().record_default(as_bank(BANK, default(&loan, 70_000, date(2031, 5, 5)))).await;
    let lost = lost.unwrap().into_inner().loan.unwrap();
    assert_eq!((lost.state(), lost.outstanding_fen), (LoanState::Defaulted, LENT));
    for fen in [1_000_000, 500_000] {
        world.loans().record_recovery(as_bank(BANK, recovery(&loan, fen, LATER))).await.unwrap();
    }
    let before = world.loans().record_recovery(as_bank(BANK, recovery(&loan, 1, date(2031, 5, 4)))).await;
    assert_eq!(reason(before), (Code::FailedPrecondition, "DATE_OUT_OF_ORDER".to_owned()));
    let none = refusal(world.loans().record_recovery(as_bank(BANK, recovery(&loan, 0, LATER))).await);
    assert_eq!(none.fields, ["recovered_fen"]);
    assert_eq!(world.count("SELECT recovered_fen FROM loan").await, 1_500_000);

    let defaults = world.announced::<LoanDefaulted>().await;
    let told = LoanDefaulted { loan: Some(lost), defaulted_on: "2031-05-05".to_owned(), overdue_interest_fen: 70_000 };
    assert_eq!(defaults, [told]);
    let recoveries = world.announced::<LoanRecovered>().await;
    let told = |fact: &LoanRecovered| (fact.recovered_fen, fact.loan.as_ref().unwrap().version);
    assert_eq!(recoveries.iter().map(told).collect::<Vec<_>>(), [(1_000_000, 4), (500_000, 5)]);
    world.stop().await;
}

#[tokio::test]
async fn a_loan_renewed_settles_when_the_new_one_is_paid_out() {
    let (world, product, enterprise, old) = lent().await;
    let order = world.place(&enterprise, &product).await;
    let renewal = ApproveLoanRequest { renews_loan_id: old.loan_id.clone(), ..approval(&order, "REF-2") };
    let nowhere = ApproveLoanRequest { renews_loan_id: new_id(), ..renewal.clone() };
    let missing = reason(world.banks().approve_loan(as_bank(BANK, nowhere)).await);
    assert_eq!(missing, (Code::NotFound, "LOAN_NOT_FOUND".to_owned()));
    let new = world.approve(renewal).await;
    assert_eq!(new.renews_loan_id, old.loan_id);
    // An approval alone leaves the old loan as it is.
    assert_eq!(stored(&world, &old).await, old);

    let less = world.banks().record_disbursement(as_bank(BANK, disbursement(&new, LENT - 1, TODAY))).await;
    assert_eq!(reason(less), (Code::FailedPrecondition, "BELOW_OUTSTANDING".to_owned()));
    let new = pay_out(&world, &new, TODAY).await;
    let renewed = stored(&world, &old).await;
    assert_eq!((renewed.state(), renewed.outstanding_fen, renewed.version), (LoanState::Settled, 0, 4));
    assert_eq!(renewed.renewed_by_loan_id, new.loan_id);
    assert_eq!(world.announced::<LoanSettled>().await.len(), 1);
    let facts = world.announced::<LoanRenewed>().await;
    assert_eq!(facts, [LoanRenewed { loan: Some(renewed), renewed_by_loan_id: new.loan_id }]);

    // What is settled is not renewed again.
    let order = world.place(&enterprise, &product).await;
    let again = ApproveLoanRequest { renews_loan_id: old.loan_id, ..approval(&order, "REF-3") };
    let closed = reason(world.banks().approve_loan(as_bank(BANK, again)).await);
    assert_eq!(closed, (Code::FailedPrecondition, "LOAN_CLOSED".to_owned()));
    world.stop().await;
}

#[tokio::test]
async fn an_approval_tells_what_secures_the_loan() {
    let (world, product, enterprise) = World::ready().await;
    let order = world.place(&enterprise, &product).await;
    let share = |bearer: RiskBearer, institution: &str, share_ppm| RiskShare {
        bearer: bearer.into(),
        institution_id: institution.to_owned(),
        share_ppm,
    };
    let guarantee = Guarantee {
        guarantor_institution_id: "sample-guarantor".to_owned(),
        contract_reference: "G-1".to_owned(),
        fee_fen: 50_000,
        risk_shares: vec![
            share(RiskBearer::PolicyPool, "", 400_000),
            share(RiskBearer::Guarantor, "sample-guarantor", 400_000),
            share(RiskBearer::Lender, BANK, 200_000),
        ],
    };
    let pledge =
        IpPledge { kind: IpKind::Patent.into(), registration_number: "ZL-SAMPLE-1".to_owned(), appraised_fen: 1 };
    let good = ApproveLoanRequest {
        guarantee: Some(guarantee.clone()),
        ip_pledges: vec![pledge.clone()],
        ..approval(&order, "REF-1")
    };
    let mut less = good.clone();
    less.guarantee.as_mut().unwrap().risk_shares[0].share_ppm -= 1;
    less.ip_pledges.push(pledge);
    less.renews_loan_id = "none".to_owned();
    let wrong = refusal(world.banks().approve_loan(as_bank(BANK, less)).await);
    assert_eq!((wrong.code, wrong.reason.as_str()), (Code::InvalidArgument, "APPROVAL_INVALID"));
    assert_eq!(wrong.fields, ["guarantee.risk_shares", "ip_pledges", "renews_loan_id"]);
    let loan = world.approve(good.clone()).await;
    assert_eq!((loan.guarantee.clone(), loan.ip_pledges.clone()), (good.guarantee, good.ip_pledges));
    let told: Vec<_> = world.announced::<LoanApproved>().await.into_iter().map(|fact| fact.loan).collect();
    assert_eq!(told, [Some(loan)]);
    world.stop().await;
}

#[tokio::test]
async fn what_is_not_paid_out_or_not_ones_own_takes_no_report() {
    let (world, product, enterprise) = World::ready().await;
    let order = world.place(&enterprise, &product).await;
    let loan = world.approve(approval(&order, "REF-1")).await;
    let not_yet = (Code::FailedPrecondition, "LOAN_NOT_DISBURSED".to_owned());
    let absent = (Code::NotFound, "LOAN_NOT_FOUND".to_owned());
    for (bank, expected) in [(BANK, not_yet.clone()), (OTHER_BANK, absent.clone())] {
        let mut loans = world.loans();
        let repaid = loans.record_repayment(as_bank(bank, repayment(&loan, 1, 0, TODAY))).await;
        assert_eq!(reason(repaid), expected);
        let changed = loans.change_loan_terms(as_bank(bank, terms(&loan, Some(1), "", TODAY))).await;
        assert_eq!(reason(changed), expected);
        assert_eq!(reason(loans.record_default(as_bank(bank, default(&loan, 0, TODAY))).await), expected);
    }
    let other = world.loans().record_recovery(as_bank(OTHER_BANK, recovery(&loan, 1, TODAY))).await;
    assert_eq!(reason(other), absent);
    let empty = RecordRepaymentRequest { request_id: new_id(), ..RecordRepaymentRequest::default() };
    let wrong = refusal(world.loans().record_repayment(as_bank(BANK, empty)).await);
    assert_eq!(
        (wrong.reason.as_str(), wrong.fields),
        ("LOAN_REPORT_INVALID", vec!["loan_id".into(), "paid_on".into(), "principal_fen".into()])
    );
    let mut negative = repayment(&loan, -1, -1, TODAY);
    negative.paid_on = "2031-02-30".to_owned();
    let wrong = refusal(world.loans().record_repayment(as_bank(BANK, negative)).await);
    assert_eq!(wrong.fields, ["paid_on", "principal_fen", "interest_fen"]);
    assert_eq!(stored(&world, &loan).await, loan);
    world.stop().await;
}

#[tokio::test]
async fn everybody_lists_their_own_loans_newest_first() {
    let (world, product, enterprise) = World::ready().await;
    let mut loans = Vec::new();
    for number in 1..=3 {
        let order = world.place(&enterprise, &product).await;
        loans.insert(0, world.approve(approval(&order, &format!("REF-{number}"))).await);
    }
    let first = ListLoansRequest { page_size: 2, ..ListLoansRequest::default() };
    let page = world.loans().list_loans(as_enterprise(&enterprise, first.clone())).await.unwrap().into_inner();
    assert_eq!(page.loans, loans[..2]);
    let next = ListLoansRequest { page_token: page.next_page_token, ..first };
    let page = world.loans().list_loans(as_enterprise(&enterprise, next)).await.unwrap().into_inner();
    assert_eq!((page.loans.as_slice(), page.next_page_token.as_str()), (&loans[2..], ""));

    let all = ListLoansRequest::default();
    let of = |enterprise: &Uscc| ListLoansRequest { enterprise_id: enterprise.to_string(), ..all.clone() };
    let (mine, stranger) = (&enterprise, uscc(2));
    for (request, expected) in [
        (as_bank(BANK, all.clone()), 3),
        (as_bank(BANK, of(mine)), 3),
        (as_bank(BANK, of(&stranger)), 0),
        (as_bank(OTHER_BANK, all.clone()), 0),
        (as_bank(OTHER_BANK, of(mine)), 0),
        (as_enterprise(&stranger, all.clone()), 0),
        (as_enterprise(&stranger, of(mine)), 0),
        (as_staff(all.clone()), 3),
        (as_staff(of(&stranger)), 0),
    ] {
        assert_eq!(world.loans().list_loans(request).await.unwrap().into_inner().loans.len(), expected);
    }
    let odd = ListLoansRequest { enterprise_id: "one".to_owned(), ..all };
    assert_eq!(refusal(world.loans().list_loans(as_staff(odd)).await).fields, ["enterprise_id"]);
    world.stop().await;
}
