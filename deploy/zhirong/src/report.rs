//! The outcome report (成效报告) of a period, put together from every service's part.

use std::fmt;

use anyhow::{Context as _, Result};
use jiff::civil::Date;
use serde::Serialize;
use zhirong_kernel::money::Fen;
use zhirong_proto::{
    catalog::v1::{
        GetCatalogOutcomeRequest, GetCatalogOutcomeResponse, catalog_report_service_client::CatalogReportServiceClient,
    },
    feedback::v1::{
        GetFeedbackOutcomeRequest, GetFeedbackOutcomeResponse,
        feedback_report_service_client::FeedbackReportServiceClient,
    },
    matching::v1::{
        GetInstitutionOutcomesRequest, GetInstitutionOutcomesResponse, GetMatchingOutcomeRequest,
        GetMatchingOutcomeResponse, institution_report_service_client::InstitutionReportServiceClient,
        matching_report_service_client::MatchingReportServiceClient,
    },
    profile::v1::{
        ListQualityEnterprisesRequest, ListTierEnterprisesRequest,
        listing_tier_service_client::ListingTierServiceClient, quality_pool_service_client::QualityPoolServiceClient,
    },
    subsidy::v1::{
        GetSubsidyOutcomeRequest, GetSubsidyOutcomeResponse, subsidy_report_service_client::SubsidyReportServiceClient,
    },
};

use crate::{
    client::Authorised,
    intent::{self, IntentLine},
};

/// What a district files for a period of business days. Each figure says what it counts.
#[derive(Debug, Serialize)]
pub struct Report {
    /// First day.
    pub from: Date,
    /// Last day, included.
    pub to: Date,
    /// Enterprises for which the calculator computed.
    pub enterprises_computed: i64,
    /// Orders placed.
    pub orders_placed: i64,
    /// Orders rejected by institutions.
    pub orders_rejected: i64,
    /// Loans approved.
    pub loans_approved: i64,
    /// Sum of the approved amounts, fen.
    pub approved_fen: i64,
    /// Loans paid out.
    pub loans_disbursed: i64,
    /// Sum of what was paid out, fen.
    pub disbursed_fen: i64,
    /// Enterprises that got a loan.
    pub enterprises_with_loan: i64,
    /// Enterprises with a pre-approved limit, now.
    pub preapproved_enterprises: i64,
    /// Sum of each one's largest pre-approved limit, fen.
    pub preapproved_fen: i64,
    /// Enterprises in the quality-enterprise pool, now.
    pub quality_enterprises: i64,
    /// Enterprises in a tier on the way to a listing, now.
    pub listing_tier_enterprises: i64,
    /// Of the loans approved, those with intellectual property pledged.
    pub ip_pledge_loans: i64,
    /// Sum of these, fen.
    pub ip_pledge_fen: i64,
    /// Grants with money set aside.
    pub subsidy_grants: i64,
    /// Enterprises that have one.
    pub subsidy_enterprises: i64,
    /// Sum set aside, fen.
    pub subsidy_planned_fen: i64,
    /// Grants that wait for money.
    pub subsidy_waiting: i64,
    /// Sum set aside by policy.
    pub subsidy_by_policy: Vec<PolicyLine>,
    /// Rating messages queued.
    pub sms_queued: i64,
    /// Rating messages the provider took.
    pub sms_sent: i64,
    /// Notices of subsidies queued.
    pub grant_notices_queued: i64,
    /// Notices of subsidies the provider took.
    pub grant_notices_sent: i64,
    /// Strategic agreements in force on at least one day of the period.
    pub agreements: i64,
    /// Sum of what these intend, fen: an intent, which no other figure contains.
    pub intent_fen: i64,
    /// What each institution with an agreement or a loan intends, beside what it really lent.
    pub institutions: Vec<IntentLine>,
    /// Ratings received.
    pub ratings: i64,
    /// Of these, satisfied or very satisfied.
    pub ratings_satisfied: i64,
}

/// The figures of one policy.
#[derive(Debug, Serialize)]
pub struct PolicyLine {
    /// Chinese name.
    pub name_zh: String,
    /// Grants with money set aside.
    pub grants: i64,
    /// Sum set aside, fen.
    pub planned_fen: i64,
}

/// Asks every service for its part.
pub async fn gather(channel: Authorised, from: Date, to: Date) -> Result<Report> {
    let (first, last) = (from.to_string(), to.to_string());
    let matching: GetMatchingOutcomeResponse = MatchingReportServiceClient::new(channel.clone())
        .get_matching_outcome(GetMatchingOutcomeRequest { from: first.clone(), to: last.clone() })
        .await
        .context("asking matching")?
        .into_inner();
    let subsidy: GetSubsidyOutcomeResponse = SubsidyReportServiceClient::new(channel.clone())
        .get_subsidy_outcome(GetSubsidyOutcomeRequest { from: first.clone(), to: last.clone() })
        .await
        .context("asking subsidy")?
        .into_inner();
    let catalog: GetCatalogOutcomeResponse = CatalogReportServiceClient::new(channel.clone())
        .get_catalog_outcome(GetCatalogOutcomeRequest { from: first.clone(), to: last.clone() })
        .await
        .context("asking the catalog")?
        .into_inner();
    let lent: GetInstitutionOutcomesResponse = InstitutionReportServiceClient::new(channel.clone())
        .get_institution_outcomes(GetInstitutionOutcomesRequest { from: first.clone(), to: last.clone() })
        .await
        .context("asking matching")?
        .into_inner();
    // Of a list only the count is wanted.
    let request = ListQualityEnterprisesRequest { page_size: 1, ..ListQualityEnterprisesRequest::default() };
    let pool = QualityPoolServiceClient::new(channel.clone()).list_quality_enterprises(request).await;
    let pool = pool.context("asking the profiles")?.into_inner();
    let request = ListTierEnterprisesRequest { page_size: 1, ..ListTierEnterprisesRequest::default() };
    let tiers = ListingTierServiceClient::new(channel.clone()).list_tier_enterprises(request).await;
    let tiers = tiers.context("asking the profiles")?.into_inner();
    let feedback: GetFeedbackOutcomeResponse = FeedbackReportServiceClient::new(channel)
        .get_feedback_outcome(GetFeedbackOutcomeRequest { from: first, to: last })
        .await
        .context("asking feedback")?
        .into_inner();

    Ok(Report {
        from,
        to,
        enterprises_computed: matching.computed_enterprises,
        orders_placed: matching.orders_placed,
        orders_rejected: matching.orders_rejected,
        loans_approved: matching.loans_approved,
        approved_fen: matching.approved_fen,
        loans_disbursed: matching.loans_disbursed,
        disbursed_fen: matching.disbursed_fen,
        enterprises_with_loan: matching.enterprises_with_loan,
        preapproved_enterprises: matching.preapproved_enterprises,
        preapproved_fen: matching.preapproved_fen,
        quality_enterprises: pool.enterprise_count,
        listing_tier_enterprises: tiers.enterprise_count,
        ip_pledge_loans: matching.ip_pledge_loans,
        ip_pledge_fen: matching.ip_pledge_fen,
        subsidy_grants: subsidy.grants,
        subsidy_enterprises: subsidy.enterprises,
        subsidy_planned_fen: subsidy.planned_fen,
        subsidy_waiting: subsidy.waiting,
        subsidy_by_policy: subsidy
            .policies
            .into_iter()
            .map(|policy| PolicyLine {
                name_zh: policy.name_zh,
                grants: policy.grants,
                planned_fen: policy.planned_fen,
            })
            .collect(),
        agreements: catalog.agreements,
        intent_fen: catalog.intent_fen,
        institutions: intent::beside(catalog.intents, lent.institutions),
        sms_queued: feedback.sms_queued,
        sms_sent: feedback.sms_sent,
        grant_notices_queued: feedback.grant_notices_queued,
        grant_notices_sent: feedback.grant_notices_sent,
        ratings: feedback.ratings,
        ratings_satisfied: feedback.ratings_satisfied,
    })
}

fn yuan(fen: i64) -> String {
    Fen::new(fen).to_yuan_string()
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "成效报告 Outcome report   {} – {}", self.from, self.to)?;
        writeln!(out, "  计算企业数   enterprises computed     {}", self.enterprises_computed)?;
        writeln!(out, "  下单数       orders placed            {}", self.orders_placed)?;
        writeln!(out, "  拒绝数       orders rejected          {}", self.orders_rejected)?;
        writeln!(out, "  批准贷款笔数 loans approved           {}", self.loans_approved)?;
        writeln!(out, "  批准金额     amount approved (CNY)    {}", yuan(self.approved_fen))?;
        writeln!(out, "  放款笔数     loans disbursed          {}", self.loans_disbursed)?;
        writeln!(out, "  放款金额     amount disbursed (CNY)   {}", yuan(self.disbursed_fen))?;
        writeln!(out, "  获贷企业数   enterprises with a loan  {}", self.enterprises_with_loan)?;
        writeln!(out, "  预授信企业数 enterprises pre-approved {}", self.preapproved_enterprises)?;
        writeln!(out, "  预授信额度   pre-approved (CNY)       {}", yuan(self.preapproved_fen))?;
        writeln!(out, "  优质企业库   quality enterprises      {}", self.quality_enterprises)?;
        writeln!(out, "  上市培育梯队 in a listing tier        {}", self.listing_tier_enterprises)?;
        writeln!(out, "  战略协议     strategic agreements     {}", self.agreements)?;
        writeln!(out, "  协议意向     intended (CNY, no money) {}", yuan(self.intent_fen))?;
        for line in &self.institutions {
            writeln!(out, "    {line}")?;
        }
        writeln!(out, "  知产质押贷款 IP pledge loans          {}", self.ip_pledge_loans)?;
        writeln!(out, "  知产质押金额 IP pledge loans (CNY)    {}", yuan(self.ip_pledge_fen))?;
        writeln!(out, "  贴息笔数     subsidy grants           {}", self.subsidy_grants)?;
        writeln!(out, "  贴息企业数   enterprises subsidised   {}", self.subsidy_enterprises)?;
        writeln!(out, "  贴息金额     subsidy set aside (CNY)  {}", yuan(self.subsidy_planned_fen))?;
        for policy in &self.subsidy_by_policy {
            writeln!(out, "    {}  {} 笔 grants, {} CNY", policy.name_zh, policy.grants, yuan(policy.planned_fen))?;
        }
        writeln!(out, "  待额度贴息   grants waiting for money {}", self.subsidy_waiting)?;
        writeln!(out, "  评价短信     rating SMS queued/sent   {}/{}", self.sms_queued, self.sms_sent)?;
        writeln!(
            out,
            "  贴息通知     subsidy SMS queued/sent  {}/{}",
            self.grant_notices_queued, self.grant_notices_sent
        )?;
        write!(out, "  评价数       ratings (satisfied)      {} ({})", self.ratings, self.ratings_satisfied)
    }
}
