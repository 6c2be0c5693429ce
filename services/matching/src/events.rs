//! What matching hears of, and what it keeps of it.

use std::{fmt::Display, sync::Arc};

use jiff::Timestamp;
use prost::Message as _;
use sqlx::PgConnection;
use tokio::sync::Notify;
use uuid::Uuid;
use zhirong_kernel::{InstitutionId, Uscc};
use zhirong_proto::{
    Fact,
    catalog::v1::{
        InstitutionRegistered, ProductAdjusted, ProductPublished, ProductResumed, ProductRetired, ProductSuspended,
        ReferencePublished, reference_published::Reference,
    },
    feedback::v1::ProductScored,
    profile::v1::{
        Consent, ConsentGranted, ConsentNarrowed, ConsentRevoked, EnterpriseErased, ObjectionDecided, ObjectionRaised,
        ProfileUpdated, Purpose,
    },
    subsidy::v1::{
        Budget, BudgetAppropriated, BudgetExhausted, BudgetFreed, BudgetLow, BudgetSpent, Coupon, CouponExpired,
        CouponIssued, CouponRedeemed, PolicyPublished, PolicyRetired,
    },
};
use zhirong_runtime::{
    inbox::{self, Delivery, Handler, Rejection, Subscription},
    streams,
};

use crate::{
    consent::{Dispute, Held},
    reference,
    snapshot::Snapshots,
    store::{
        adjustment, candidate, catalog::Kind, coupon, disclosure, erasure, objection, preapproval, read_model, subsidy,
    },
};

/// Profiles.
pub const PROFILES: Subscription = Subscription {
    durable: "matching-profiles",
    stream: streams::PROFILE,
    subjects: &["zr.profile.v1.profile.updated.>"],
};
/// Consents.
pub const CONSENTS: Subscription =
    Subscription { durable: "matching-consents", stream: streams::PROFILE, subjects: &["zr.profile.v1.consent.>"] };
/// Consents again, for those to offer credit: under a name of its own, because the past of the other one was dropped.
pub const PREAPPROVAL_CONSENTS: Subscription = Subscription {
    durable: "matching-preapproval-consents",
    stream: streams::PROFILE,
    subjects: &["zr.profile.v1.consent.>"],
};
/// Objections against records.
pub const OBJECTIONS: Subscription = Subscription {
    durable: "matching-objections",
    stream: streams::PROFILE,
    subjects: &["zr.profile.v1.objection.raised.>", "zr.profile.v1.objection.decided.>"],
};
/// Erasures.
pub const ERASURES: Subscription = Subscription {
    durable: "matching-erasures",
    stream: streams::PROFILE,
    subjects: &["zr.profile.v1.enterprise.erased.>"],
};
/// Institutions, products, reference data.
pub const CATALOG: Subscription =
    Subscription { durable: "matching-catalog", stream: streams::CATALOG, subjects: &["zr.catalog.v1.>"] };
/// Ratings of products.
pub const SCORES: Subscription = Subscription {
    durable: "matching-scores",
    stream: streams::FEEDBACK,
    subjects: &["zr.feedback.v1.product.scored.>"],
};

/// Subsidy policies, their budgets, and coupons.
pub const SUBSIDIES: Subscription = Subscription {
    durable: "matching-entitlements",
    stream: streams::SUBSIDY,
    subjects: &["zr.subsidy.v1.policy.>", "zr.subsidy.v1.budget.>", "zr.subsidy.v1.coupon.>"],
};

/// Keeps profiles.
pub struct ProfileHandler {
    /// Wakes who computes pre-approvals.
    pub due: Arc<Notify>,
}

impl Handler for ProfileHandler {
    async fn handle(&self, conn: &mut PgConnection, delivery: &Delivery) -> Result<(), Rejection> {
        let profile = delivery.decode::<ProfileUpdated>()?.profile.ok_or_else(|| missing("profile"))?;
        profile.enterprise_id.parse::<Uscc>().map_err(Rejection::poison)?;
        read_model::put_profile(conn, &profile).await?;
        preapproval::due(conn, &[profile.enterprise_id]).await?;
        Ok(())
    }

    async fn lock(&self, conn: &mut PgConnection, deliveries: &[&Delivery]) -> Result<(), Rejection> {
        let enterprises = enterprises(deliveries, |fact: ProfileUpdated| Some(fact.profile?.enterprise_id));
        Ok(erasure::lock_to_add(conn, &enterprises).await?)
    }

    async fn handle_all(
        &self,
        conn: &mut PgConnection,
        deliveries: &[&Delivery],
    ) -> Result<Vec<Result<(), Rejection>>, Rejection> {
        self.lock(conn, deliveries).await?;
        inbox::in_turn(self, conn, deliveries).await
    }

    async fn committed(&self) {
        self.due.notify_one();
    }
}

/// Keeps how the consents of orders stand.
pub struct ConsentHandler;

impl Handler for ConsentHandler {
    async fn handle(&self, conn: &mut PgConnection, delivery: &Delivery) -> Result<(), Rejection> {
        let (id, consent, held) = consent(delivery)?;
        Ok(disclosure::put_consent(conn, id, consent.version, &held).await?)
    }
}

/// Keeps how the consents to offer credit stand.
pub struct PreapprovalConsentHandler;

impl Handler for PreapprovalConsentHandler {
    async fn handle(&self, conn: &mut PgConnection, delivery: &Delivery) -> Result<(), Rejection> {
        let (id, consent, held) = consent(delivery)?;
        if consent.purpose() != Purpose::Preapproval {
            return Ok(());
        }
        consent.enterprise_id.parse::<Uscc>().map_err(Rejection::poison)?;
        consent.institution_id.parse::<InstitutionId>().map_err(Rejection::poison)?;
        Ok(candidate::put_consent(conn, id, &consent, &held).await?)
    }
}

/// The consent of a fact as it stands.
fn consent(delivery: &Delivery) -> Result<(Uuid, Consent, Held), Rejection> {
    let consent: Option<Consent> = match delivery.ce_type.as_str() {
        ConsentGranted::TYPE => delivery.decode::<ConsentGranted>()?.consent,
        ConsentNarrowed::TYPE => delivery.decode::<ConsentNarrowed>()?.consent,
        ConsentRevoked::TYPE => delivery.decode::<ConsentRevoked>()?.consent,
        other => return Err(Rejection::poison(format!("`{other}` is not a fact matching knows"))),
    };
    let consent = consent.ok_or_else(|| missing("consent"))?;
    let id = consent.consent_id.parse().map_err(|_| Rejection::poison("`consent_id` is not a UUID"))?;
    let held = Held::registered(&consent).ok_or_else(|| missing("consent.expires_at"))?;
    Ok((id, consent, held))
}

/// Keeps which records enterprises dispute.
pub struct ObjectionHandler;

impl Handler for ObjectionHandler {
    async fn handle(&self, conn: &mut PgConnection, delivery: &Delivery) -> Result<(), Rejection> {
        let id = |text: &str| text.parse::<Uuid>().map_err(|_| Rejection::poison("`objection_id` is not a UUID"));
        match delivery.ce_type.as_str() {
            ObjectionRaised::TYPE => {
                let ObjectionRaised { enterprise_id, record, computed_values, .. } = delivery.decode()?;
                enterprise_id.parse::<Uscc>().map_err(Rejection::poison)?;
                let record = record.ok_or_else(|| missing("record"))?;
                let objection_id = id(&record.objection_id)?;
                let dispute = Dispute { record, computed_values };
                objection::raised(conn, objection_id, &enterprise_id, &dispute).await?;
            }
            ObjectionDecided::TYPE => {
                let fact: ObjectionDecided = delivery.decode()?;
                fact.enterprise_id.parse::<Uscc>().map_err(Rejection::poison)?;
                objection::decided(conn, id(&fact.objection_id)?, &fact.enterprise_id).await?;
            }
            other => return Err(Rejection::poison(format!("`{other}` is not a fact matching knows"))),
        }
        Ok(())
    }
}

/// Erases what orders and past versions hold of enterprises' profiles.
pub struct ErasureHandler {
    /// Wakes open inbox streams of this process.
    pub inbox: Arc<Notify>,
}

impl Handler for ErasureHandler {
    async fn handle(&self, conn: &mut PgConnection, delivery: &Delivery) -> Result<(), Rejection> {
        let fact: EnterpriseErased = delivery.decode()?;
        fact.enterprise_id.parse::<Uscc>().map_err(Rejection::poison)?;
        let at = fact.erased_at.as_ref().and_then(|at| Timestamp::new(at.seconds, at.nanos).ok());
        let at = at.ok_or_else(|| missing("erased_at"))?;
        erasure::erase(conn, &fact, at).await.map_err(Rejection::retry)
    }

    async fn lock(&self, conn: &mut PgConnection, deliveries: &[&Delivery]) -> Result<(), Rejection> {
        let enterprises = enterprises(deliveries, |fact: EnterpriseErased| Some(fact.enterprise_id));
        Ok(erasure::lock(conn, &enterprises).await?)
    }

    async fn handle_all(
        &self,
        conn: &mut PgConnection,
        deliveries: &[&Delivery],
    ) -> Result<Vec<Result<(), Rejection>>, Rejection> {
        self.lock(conn, deliveries).await?;
        inbox::in_turn(self, conn, deliveries).await
    }

    async fn committed(&self) {
        self.inbox.notify_waiters();
    }
}

/// Whom some facts of a kind are about; those that can't be read are about nobody.
fn enterprises<F: Fact>(deliveries: &[&Delivery], whom: impl Fn(F) -> Option<String>) -> Vec<String> {
    deliveries.iter().filter_map(|delivery| whom(delivery.decode().ok()?)).collect()
}

/// Keeps what the calculator computes from.
pub struct CatalogHandler {
    /// Refreshed after each batch.
    pub snapshots: Snapshots,
}

impl Handler for CatalogHandler {
    async fn handle(&self, conn: &mut PgConnection, delivery: &Delivery) -> Result<(), Rejection> {
        match delivery.ce_type.as_str() {
            InstitutionRegistered::TYPE => {
                let fact: InstitutionRegistered = delivery.decode()?;
                let institution = fact.institution.ok_or_else(|| missing("institution"))?;
                institution.institution_id.parse::<InstitutionId>().map_err(Rejection::poison)?;
                read_model::put_institution(conn, &institution).await?;
            }
            ProductPublished::TYPE => {
                let fact: ProductPublished = delivery.decode()?;
                let product = fact.product.ok_or_else(|| missing("product"))?;
                read_model::put_product(conn, uuid(&product.product_id)?, fact.sequence, Some(&product)).await?;
            }
            ProductRetired::TYPE => {
                let fact: ProductRetired = delivery.decode()?;
                read_model::put_product(conn, uuid(&fact.product_id)?, fact.sequence, None).await?;
            }
            // A suspended product takes no new orders: to the calculator it is not there until it is resumed.
            ProductSuspended::TYPE => {
                let fact: ProductSuspended = delivery.decode()?;
                read_model::put_product(conn, uuid(&fact.product_id)?, fact.sequence, None).await?;
            }
            ProductResumed::TYPE => {
                let fact: ProductResumed = delivery.decode()?;
                let product = fact.product.ok_or_else(|| missing("product"))?;
                read_model::put_product(conn, uuid(&product.product_id)?, fact.sequence, Some(&product)).await?;
            }
            ProductAdjusted::TYPE => {
                let fact: ProductAdjusted = delivery.decode()?;
                let adjustment = fact.adjustment.ok_or_else(|| missing("adjustment"))?;
                uuid(&adjustment.product_id)?;
                let id =
                    adjustment.adjustment_id.parse().map_err(|_| Rejection::poison("`adjustment_id` is not a UUID"))?;
                adjustment::put(conn, id, fact.sequence, &adjustment).await?;
            }
            ReferencePublished::TYPE => {
                let fact: ReferencePublished = delivery.decode()?;
                let (kind, content) = match fact.reference.ok_or_else(|| missing("reference"))? {
                    Reference::Lpr(table) => {
                        reference::lpr(&table).map_err(Rejection::poison)?;
                        (Kind::Lpr, table.encode_to_vec())
                    }
                    Reference::Calendar(notice) => {
                        reference::calendar(&notice).map_err(Rejection::poison)?;
                        (Kind::Calendar, notice.encode_to_vec())
                    }
                };
                read_model::put_reference(conn, kind, fact.version, &content).await?;
            }
            ProductScored::TYPE => {
                let fact: ProductScored = delivery.decode()?;
                read_model::put_score(conn, uuid(&fact.product_id)?, fact.version, fact.mean_level_ppm).await?;
            }
            PolicyPublished::TYPE => {
                let fact: PolicyPublished = delivery.decode()?;
                let policy = fact.policy.ok_or_else(|| missing("policy"))?;
                subsidy::put_policy(conn, policy_uuid(&policy.policy_id)?, &policy).await?;
            }
            PolicyRetired::TYPE => {
                let fact: PolicyRetired = delivery.decode()?;
                subsidy::end_policy(conn, policy_uuid(&fact.policy_id)?, fact.version).await?;
            }
            CouponIssued::TYPE => put_coupon(conn, delivery.decode::<CouponIssued>()?.coupon).await?,
            CouponRedeemed::TYPE => put_coupon(conn, delivery.decode::<CouponRedeemed>()?.coupon).await?,
            CouponExpired::TYPE => put_coupon(conn, delivery.decode::<CouponExpired>()?.coupon).await?,
            BudgetLow::TYPE => {
                let fact: BudgetLow = delivery.decode()?;
                put_budget(conn, fact.budget, fact.version).await?;
            }
            BudgetAppropriated::TYPE => {
                let fact: BudgetAppropriated = delivery.decode()?;
                put_budget(conn, fact.budget, fact.version).await?;
            }
            BudgetExhausted::TYPE => {
                let fact: BudgetExhausted = delivery.decode()?;
                put_budget(conn, fact.budget, fact.version).await?;
            }
            BudgetSpent::TYPE => {
                let fact: BudgetSpent = delivery.decode()?;
                put_budget(conn, fact.budget, fact.version).await?;
            }
            BudgetFreed::TYPE => {
                let fact: BudgetFreed = delivery.decode()?;
                put_budget(conn, fact.budget, fact.version).await?;
            }
            other => return Err(Rejection::poison(format!("`{other}` is not a fact matching knows"))),
        }
        Ok(())
    }

    async fn committed(&self) {
        if let Err(error) = self.snapshots.refresh().await {
            // The follower tries again within a second.
            tracing::warn!(%error, "the catalog could not be refreshed");
        }
    }
}

/// Whatever a fact is about, the newest tells whether there is money for a newcomer.
async fn put_budget(conn: &mut PgConnection, budget: Option<Budget>, version: i64) -> Result<(), Rejection> {
    let budget = budget.ok_or_else(|| missing("budget"))?;
    let available = budget.available_fen > 0 && !budget.kept_for_queue;
    Ok(subsidy::put_budget(conn, policy_uuid(&budget.policy_id)?, budget.year, version, available).await?)
}

async fn put_coupon(conn: &mut PgConnection, coupon: Option<Coupon>) -> Result<(), Rejection> {
    let coupon = coupon.ok_or_else(|| missing("coupon"))?;
    coupon.enterprise_id.parse::<Uscc>().map_err(Rejection::poison)?;
    let id = coupon.coupon_id.parse().map_err(|_| Rejection::poison("`coupon_id` is not a UUID"))?;
    Ok(coupon::put(conn, id, &coupon).await?)
}

fn policy_uuid(text: &str) -> Result<Uuid, Rejection> {
    text.parse().map_err(|_| Rejection::poison("`policy_id` is not a UUID"))
}

fn missing(field: impl Display) -> Rejection {
    Rejection::poison(format!("`{field}` is missing"))
}

fn uuid(text: &str) -> Result<Uuid, Rejection> {
    text.parse().map_err(|_| Rejection::poison("`product_id` is not a UUID"))
}
