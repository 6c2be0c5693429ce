//! The life of a loan after it was paid out, as its institution reports it.

use jiff::{Timestamp, civil::Date};
use sqlx::PgConnection;
use tonic::{Request, Response, Status};
use zhirong_kernel::{Uscc, clock::business_date, id::LoanId};
use zhirong_proto::{
    Fact,
    matching::v1::{
        ChangeLoanTermsRequest, ChangeLoanTermsResponse, ListLoansRequest, ListLoansResponse, Loan, LoanDefaulted,
        LoanRecovered, LoanRenewed, LoanRepaid, LoanSettled, LoanTermsChanged, RecordDefaultRequest,
        RecordDefaultResponse, RecordRecoveryRequest, RecordRecoveryResponse, RecordRepaymentRequest,
        RecordRepaymentResponse, loan_service_server::LoanService,
    },
};
use zhirong_runtime::{
    caller::Caller,
    idempotency::{self, Claim},
    outbox::{self, Aggregate},
    page,
    problem::Problem,
};

use super::{Matching, cut, order::owner};
use crate::{
    error::Error,
    loan::life::{self, Day},
    store::{
        loan::{self as loans, LoanRow},
        order::Cursor,
    },
};

const HIGHEST_RATE_PPM: i64 = 360_000;

#[tonic::async_trait]
impl LoanService for Matching {
    async fn record_repayment(
        &self,
        request: Request<RecordRepaymentRequest>,
    ) -> Result<Response<RecordRepaymentResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.record_repayment(&caller, request.into_inner()).await?))
    }

    async fn change_loan_terms(
        &self,
        request: Request<ChangeLoanTermsRequest>,
    ) -> Result<Response<ChangeLoanTermsResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.change_loan_terms(&caller, request.into_inner()).await?))
    }

    async fn record_default(
        &self,
        request: Request<RecordDefaultRequest>,
    ) -> Result<Response<RecordDefaultResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.record_default(&caller, request.into_inner()).await?))
    }

    async fn record_recovery(
        &self,
        request: Request<RecordRecoveryRequest>,
    ) -> Result<Response<RecordRecoveryResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.record_recovery(&caller, request.into_inner()).await?))
    }

    async fn list_loans(&self, request: Request<ListLoansRequest>) -> Result<Response<ListLoansResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.list_loans(&caller, &request.into_inner()).await?))
    }
}

impl Matching {
    async fn record_repayment(
        &self,
        caller: &Caller,
        request: RecordRepaymentRequest,
    ) -> Result<RecordRepaymentResponse, Problem> {
        let institution = caller.institution()?.clone();
        let (principal, interest) = (request.principal_fen, request.interest_fen);
        let (loan_id, paid_on) = check(
            &request.loan_id,
            ("paid_on", &request.paid_on),
            &[
                (principal < 0, "principal_fen", "must not be negative"),
                (interest < 0, "interest_fen", "must not be negative"),
                (principal == 0 && interest == 0, "principal_fen", "must be positive where no interest is paid"),
            ],
        )?;
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.matching.v1.LoanService/RecordRepayment";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let row = loans::lock(&mut tx, loan_id, institution.as_str()).await?;
        let mut loan = life::repay(&row.loan, principal, interest, day(&row, paid_on, now)).map_err(Error::from)?;
        let fact = LoanRepaid {
            loan: Some(loan.clone()),
            principal_fen: principal,
            interest_fen: interest,
            paid_on: paid_on.to_string(),
            overdue: request.overdue,
        };
        announce(&mut tx, &loan, &fact, now).await?;
        if loan.outstanding_fen == 0 {
            loan = life::settle(&loan);
            let fact = LoanSettled { loan: Some(loan.clone()), settled_on: paid_on.to_string() };
            announce(&mut tx, &loan, &fact, now).await?;
        }
        loans::update(&mut tx, loan_id, &loan, row.recovered_fen, paid_on).await?;
        let response = RecordRepaymentResponse { loan: Some(loan) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.outbox.notify();
        Ok(response)
    }

    async fn change_loan_terms(
        &self,
        caller: &Caller,
        request: ChangeLoanTermsRequest,
    ) -> Result<ChangeLoanTermsResponse, Problem> {
        let institution = caller.institution()?.clone();
        let matures_on = Some(request.matures_on.as_str()).filter(|text| !text.is_empty()).map(date).transpose();
        let unreadable = matures_on.is_err();
        let matures_on = matures_on.ok().flatten();
        let rate_out = request.rate_ppm.is_some_and(|rate| !(0..=HIGHEST_RATE_PPM).contains(&rate));
        let too_soon = matures_on.zip(date(&request.effective_on).ok()).is_some_and(|(end, start)| end <= start);
        let (loan_id, effective_on) = check(
            &request.loan_id,
            ("effective_on", &request.effective_on),
            &[
                (rate_out, "rate_ppm", "must be 0 to 360000"),
                (unreadable, "matures_on", "must be a date, YYYY-MM-DD, or empty"),
                (too_soon, "matures_on", "must be after effective_on"),
            ],
        )?;
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.matching.v1.LoanService/ChangeLoanTerms";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let row = loans::lock(&mut tx, loan_id, institution.as_str()).await?;
        let loan =
            life::change(&row.loan, request.rate_ppm, matures_on, day(&row, effective_on, now)).map_err(Error::from)?;
        loans::update(&mut tx, loan_id, &loan, row.recovered_fen, effective_on).await?;
        let fact = LoanTermsChanged { loan: Some(loan.clone()), effective_on: effective_on.to_string() };
        announce(&mut tx, &loan, &fact, now).await?;
        let response = ChangeLoanTermsResponse { loan: Some(loan) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.outbox.notify();
        Ok(response)
    }

    async fn record_default(
        &self,
        caller: &Caller,
        request: RecordDefaultRequest,
    ) -> Result<RecordDefaultResponse, Problem> {
        let institution = caller.institution()?.clone();
        let overdue = request.overdue_interest_fen;
        let (loan_id, defaulted_on) = check(
            &request.loan_id,
            ("defaulted_on", &request.defaulted_on),
            &[(overdue < 0, "overdue_interest_fen", "must not be negative")],
        )?;
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.matching.v1.LoanService/RecordDefault";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let row = loans::lock(&mut tx, loan_id, institution.as_str()).await?;
        let loan = life::default(&row.loan, day(&row, defaulted_on, now)).map_err(Error::from)?;
        loans::update(&mut tx, loan_id, &loan, row.recovered_fen, defaulted_on).await?;
        let fact = LoanDefaulted {
            loan: Some(loan.clone()),
            defaulted_on: defaulted_on.to_string(),
            overdue_interest_fen: overdue,
        };
        announce(&mut tx, &loan, &fact, now).await?;
        let response = RecordDefaultResponse { loan: Some(loan) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.outbox.notify();
        Ok(response)
    }

    async fn record_recovery(
        &self,
        caller: &Caller,
        request: RecordRecoveryRequest,
    ) -> Result<RecordRecoveryResponse, Problem> {
        let institution = caller.institution()?.clone();
        let came_back = request.recovered_fen;
        let (loan_id, recovered_on) = check(
            &request.loan_id,
            ("recovered_on", &request.recovered_on),
            &[(came_back <= 0, "recovered_fen", "must be positive")],
        )?;
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.matching.v1.LoanService/RecordRecovery";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let row = loans::lock(&mut tx, loan_id, institution.as_str()).await?;
        let (loan, in_all) = life::recover(&row.loan, row.recovered_fen, came_back, day(&row, recovered_on, now))
            .map_err(Error::from)?;
        loans::update(&mut tx, loan_id, &loan, in_all, recovered_on).await?;
        let fact = LoanRecovered {
            loan: Some(loan.clone()),
            recovered_fen: came_back,
            recovered_on: recovered_on.to_string(),
        };
        announce(&mut tx, &loan, &fact, now).await?;
        let response = RecordRecoveryResponse { loan: Some(loan) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.outbox.notify();
        Ok(response)
    }

    async fn list_loans(&self, caller: &Caller, request: &ListLoansRequest) -> Result<ListLoansResponse, Problem> {
        let owner = owner(caller)?;
        let page = page::parse::<Cursor>(request.page_size, &request.page_token)?;
        let enterprise = Some(request.enterprise_id.as_str()).filter(|id| !id.is_empty());
        if enterprise.is_some_and(|id| id.parse::<Uscc>().is_err()) {
            return Err(Problem::invalid("ENTERPRISE_INVALID", "`enterprise_id` is not a unified social credit code")
                .field("enterprise_id", "must be a unified social credit code, or empty")
                .zh("统一社会信用代码有误"));
        }
        let mut conn = self.pool.acquire().await?;
        let found = loans::list(&mut conn, owner, enterprise, page.after, page.size.saturating_add(1)).await?;
        let (found, more) = cut(found, page.size);
        let next_page_token = match found.last() {
            Some((cursor, _)) if more => page::encode(cursor)?,
            _ => String::new(),
        };
        Ok(ListLoansResponse { loans: found.into_iter().map(|(_, loan)| loan).collect(), next_page_token })
    }
}

/// Whether a loan may take the place of another: the same lender's to the same enterprise, and still open.
pub(super) async fn check_renewable(conn: &mut PgConnection, old: LoanId, new: &Loan) -> Result<(), Error> {
    let old = loans::lock(conn, old, &new.institution_id).await?.loan;
    if old.enterprise_id != new.enterprise_id {
        return Err(Error::LoanNotFound);
    }
    Ok(life::open(&old)?)
}

/// Settles the loan that a loan just paid out takes the place of, if there is one. Locks go from the new loan to the old, and
/// a loan renews only an older one, so that two renewals never wait for each other.
pub(super) async fn settle_renewed(
    conn: &mut PgConnection,
    new: &Loan,
    paid_on: Date,
    now: Timestamp,
) -> Result<(), Error> {
    if new.renews_loan_id.is_empty() {
        return Ok(());
    }
    let old_id: LoanId = new.renews_loan_id.parse().map_err(|_| Error::Stored("loan.content".to_owned()))?;
    let row = loans::lock(conn, old_id, &new.institution_id).await?;
    let (settled, renewed) = life::renew(&row.loan, &new.loan_id, new.disbursed_fen, day(&row, paid_on, now))?;
    let fact = LoanSettled { loan: Some(settled.clone()), settled_on: paid_on.to_string() };
    announce(conn, &settled, &fact, now).await?;
    let fact = LoanRenewed { loan: Some(renewed.clone()), renewed_by_loan_id: new.loan_id.clone() };
    announce(conn, &renewed, &fact, now).await?;
    loans::update(conn, old_id, &renewed, row.recovered_fen, paid_on).await
}

async fn announce<F: Fact>(conn: &mut PgConnection, loan: &Loan, fact: &F, now: Timestamp) -> Result<(), Error> {
    let aggregate = Aggregate { kind: "loan", id: &loan.loan_id, version: loan.version };
    outbox::append(conn, aggregate, &loan.loan_id, fact, now).await?;
    Ok(())
}

fn day(row: &LoanRow, day: Date, now: Timestamp) -> Day {
    Day { day, last: row.last_event_on, today: business_date(now) }
}

fn date(text: &str) -> Result<Date, jiff::Error> {
    text.parse()
}

/// Loan and day of a report, when none of its other fields is wrong.
fn check(
    loan_id: &str,
    (day_field, day): (&'static str, &str),
    wrong: &[(bool, &'static str, &str)],
) -> Result<(LoanId, Date), Problem> {
    let (loan_id, day) = (loan_id.parse::<LoanId>(), date(day));
    if let (Ok(loan_id), Ok(day), true) = (&loan_id, &day, wrong.iter().all(|(is, ..)| !is)) {
        return Ok((*loan_id, *day));
    }
    let problem = Problem::invalid("LOAN_REPORT_INVALID", "the report can't be taken; see the fields")
        .zh("报送内容有误，请逐项核对");
    let unreadable =
        [(loan_id.is_err(), "loan_id", "must be a UUID"), (day.is_err(), day_field, "must be a date, YYYY-MM-DD")];
    let wrong = unreadable.iter().chain(wrong).filter(|(is, ..)| *is);
    Err(wrong.fold(problem, |problem, (_, field, why)| problem.field(*field, *why)))
}
