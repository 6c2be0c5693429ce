//! Coupons: staff issue them, an enterprise sees its own.

use std::collections::BTreeSet;

use jiff::Timestamp;
use tonic::{Request, Response, Status};
use uuid::Uuid;
use zhirong_kernel::{Uscc, clock::business_date, id::PolicyId};
use zhirong_proto::subsidy::v1::{self as pb, coupon_service_server::CouponService, issue_coupons_request::Group};
use zhirong_runtime::{
    caller::{Caller, Role},
    page,
    problem::Problem,
};

use super::{Api, date, grants::whose, id, next, staff, write};
use crate::{
    error::Error,
    flow::{coupon, trial},
    policy::{Published, Who},
    store, wire,
};

const MOST_HOLDERS: usize = 5000;
/// One transaction issues to a group that a condition tells.
const MOST_OF_A_GROUP: usize = 20_000;

#[tonic::async_trait]
impl CouponService for Api {
    async fn issue_coupons(
        &self,
        request: Request<pb::IssueCouponsRequest>,
    ) -> Result<Response<pb::IssueCouponsResponse>, Status> {
        let caller = staff(&request)?;
        Ok(Response::new(self.issue(&caller, request.into_inner()).await?))
    }

    async fn list_coupons(
        &self,
        request: Request<pb::ListCouponsRequest>,
    ) -> Result<Response<pb::ListCouponsResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        caller.require(&[Role::Enterprise, Role::Staff, Role::Operator])?;
        let request = request.into_inner();
        let enterprise = whose(&caller, &request.enterprise_id)?;
        Ok(Response::new(self.coupons(enterprise.as_ref(), request).await?))
    }
}

/// Who is to get one.
enum Holders {
    Named(Vec<Uscc>),
    Who(Who),
}

impl Api {
    async fn issue(
        &self,
        caller: &Caller,
        request: pb::IssueCouponsRequest,
    ) -> Result<pb::IssueCouponsResponse, Problem> {
        let policy: PolicyId = id(&request.policy_id, "policy_id")?;
        let (holders, valid_until) = parse_issue(&request)?;
        write!(self, caller, "CouponService/IssueCoupons", request, |tx, now| {
            let current = store::policy::lock(tx, policy).await?.ok_or(Error::PolicyNotFound(policy))?;
            let version = current.ok_or(Error::NotPublished(policy))?;
            let spec = self.desk.book.spec(tx, policy, version).await?;
            if !coupon::gives_coupons(&spec) {
                return Err(Error::NotACouponPolicy(policy).into());
            }
            if valid_until < business_date(now) || valid_until > spec.effective_to {
                return Err(Error::CouponDates(spec.effective_to).into());
            }
            let group = match holders {
                Holders::Named(group) => group,
                Holders::Who(who) => trial::group(tx, &who, business_date(now), MOST_OF_A_GROUP).await?,
            };
            if group.is_empty() {
                return Err(Error::GroupEmpty.into());
            }
            let policy = Published { policy_id: policy, version, spec, published_at: now, ended_at: None };
            let issue = coupon::Issue { policy: &policy, valid_until, by: &caller.subject, now };
            let issued = coupon::issue(tx, &self.desk, issue, &group).await?;
            let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
            pb::IssueCouponsResponse {
                issued: count(issued),
                had_one: count(group.len()).saturating_sub(count(issued)),
            }
        })
    }

    async fn coupons(
        &self,
        enterprise: Option<&Uscc>,
        request: pb::ListCouponsRequest,
    ) -> Result<pb::ListCouponsResponse, Problem> {
        let page = page::parse::<(Timestamp, Uuid)>(request.page_size, &request.page_token)?;
        let mut conn = self.pool.acquire().await?;
        let found = store::coupon::list(&mut conn, enterprise.map(Uscc::as_str), page.after, page.size).await?;
        let mut coupons = Vec::with_capacity(found.len());
        for coupon in &found {
            let spec = self.desk.book.spec(&mut conn, coupon.policy_id, coupon.policy_version).await?;
            coupons.push(wire::coupon(coupon, &spec));
        }
        Ok(pb::ListCouponsResponse {
            next_page_token: next(&found, page.size, |coupon| (coupon.issued_at, coupon.coupon_id.uuid()))?,
            coupons,
        })
    }
}

fn parse_issue(request: &pb::IssueCouponsRequest) -> Result<(Holders, jiff::civil::Date), Problem> {
    let mut problem =
        Problem::invalid("COUPONS_INVALID", "the coupons can't be issued; see the fields").zh("优惠券信息有误");
    let holders = match &request.group {
        Some(Group::Holders(named)) if (1..=MOST_HOLDERS).contains(&named.enterprise_ids.len()) => {
            let read: Result<BTreeSet<Uscc>, _> = named.enterprise_ids.iter().map(|text| text.parse()).collect();
            match read {
                Ok(group) if group.len() == named.enterprise_ids.len() => {
                    Some(Holders::Named(group.into_iter().collect()))
                }
                Ok(_) => {
                    problem = problem.field("holders.enterprise_ids", "must not repeat");
                    None
                }
                Err(error) => {
                    problem = problem.field("holders.enterprise_ids", error.to_string());
                    None
                }
            }
        }
        Some(Group::Holders(_)) => {
            problem = problem.field("holders.enterprise_ids", "must be 1 to 5000");
            None
        }
        Some(Group::Who(text)) => match Who::compile(text) {
            Ok(who) => Some(Holders::Who(who)),
            Err(must) => {
                problem = problem.field("who", must);
                None
            }
        },
        None => {
            problem = problem.field("group", "must be set");
            None
        }
    };
    let valid_until = date(&request.valid_until);
    if valid_until.is_none() {
        problem = problem.field("valid_until", "must be a date, YYYY-MM-DD");
    }
    holders.zip(valid_until).ok_or(problem)
}
