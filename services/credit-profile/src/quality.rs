//! The quality-enterprise pool (优质企业库): who repays on time, owes nothing past its day, has asked for money lately, rates
//! well and is on no list of the untrustworthy. The standing follows from the facts and the day alone, so that the order in
//! which facts arrive does not matter.

use std::sync::LazyLock;

use jiff::{ToSpan as _, Unit, civil::Date};
use serde::Deserialize;
use zhirong_kernel::feature::{FeatureDictionary, FeatureType, FeatureValue, Features};
use zhirong_proto::profile::v1::{QualityCriterion, QualityCriterionKind as Kind};

/// The feature by which rules and adjustments of products know members.
pub const FEATURE: &str = "is_quality_enterprise";
const ONE: i64 = 1_000_000;

/// The pool's rules; seeds/quality_pool.yaml explains every key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Counts up with every change.
    pub version: i32,
    window_days: i32,
    minimum_repayments: i64,
    on_time_ppm: i64,
    demand_days: i64,
    mean_level_ppm: i64,
    barred_by: Vec<String>,
}

/// What the facts say of an enterprise with at least one loan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// Repayments in the window.
    pub repayments: i64,
    /// Of these, later than the contract says.
    pub late: i64,
    /// Loans in default, or past their maturity with principal owed.
    pub losses: i64,
    /// When it last asked for money or was lent some.
    pub last_demand: Option<Date>,
    /// Ratings in the window.
    pub ratings: i64,
    /// The sum of their levels.
    pub levels: i64,
}

static STANDARD: LazyLock<Result<Rules, String>> =
    LazyLock::new(|| Rules::parse(include_str!("../../../seeds/quality_pool.yaml")));

impl Rules {
    /// The rules compiled in from seeds/.
    ///
    /// # Errors
    /// Says what is broken, which a test excludes.
    pub fn standard() -> Result<&'static Self, String> {
        STANDARD.as_ref().map_err(Clone::clone)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let rules: Self = serde_norway::from_str(text).map_err(|error| format!("quality_pool.yaml: {error}"))?;
        let flag = |name: &String| {
            FeatureDictionary::standard().get(name).is_some_and(|feature| feature.kind == FeatureType::Bool)
        };
        match rules.barred_by.iter().find(|name| !flag(name)) {
            Some(name) => Err(format!("quality_pool.yaml: `{name}` is no feature of type bool")),
            None => Ok(rules),
        }
    }

    /// Features that bar from the pool.
    pub fn features(&self) -> impl Iterator<Item = &str> {
        self.barred_by.iter().map(String::as_str)
    }

    /// The first day whose repayments and ratings count.
    #[must_use]
    pub fn window_from(&self, today: Date) -> Date {
        today.saturating_sub(self.window_days.days())
    }

    /// Every criterion with what was found.
    #[must_use]
    pub fn assess(&self, history: &History, features: &Features, today: Date) -> Vec<QualityCriterion> {
        vec![
            self.on_time(history),
            no_loss(history),
            self.demand(history, today),
            self.rating(history),
            self.not_barred(features),
        ]
    }

    fn on_time(&self, history: &History) -> QualityCriterion {
        let in_time = history.repayments.saturating_sub(history.late);
        let found = share(in_time, history.repayments);
        let met = history.repayments >= self.minimum_repayments && found >= self.on_time_ppm;
        let text = if history.repayments < self.minimum_repayments {
            format!("尚无足够还款记录（{}次，至少{}次）", history.repayments, self.minimum_repayments)
        } else {
            format!("近{}天还款{}次，其中按时{in_time}次", self.window_days, history.repayments)
        };
        criterion(Kind::OnTime, met, found, self.on_time_ppm, text)
    }

    fn demand(&self, history: &History, today: Date) -> QualityCriterion {
        let days = history.last_demand.and_then(|day| day.until((Unit::Day, today)).ok());
        let found = days.map_or(-1, |span| i64::from(span.get_days()).max(0));
        let met = found >= 0 && found <= self.demand_days;
        let text = match found {
            -1 => "尚未提出融资需求".to_owned(),
            days => format!("最近一次融资需求在{days}天前（{}天内有效）", self.demand_days),
        };
        criterion(Kind::Demand, met, found, self.demand_days, text)
    }

    fn rating(&self, history: &History) -> QualityCriterion {
        let found = if history.ratings > 0 { history.levels.saturating_mul(ONE) / history.ratings } else { 0 };
        let text = if history.ratings == 0 {
            "尚无服务评价".to_owned()
        } else {
            format!(
                "近{}天{}次评价，平均{}.{:02}分",
                self.window_days,
                history.ratings,
                found / ONE,
                found % ONE / 10_000
            )
        };
        criterion(Kind::Rating, found >= self.mean_level_ppm, found, self.mean_level_ppm, text)
    }

    fn not_barred(&self, features: &Features) -> QualityCriterion {
        let barring: Vec<&str> = self
            .barred_by
            .iter()
            .filter(|name| features.get(name.as_str()) == Some(&FeatureValue::Bool(true)))
            .filter_map(|name| FeatureDictionary::standard().get(name))
            .map(|feature| feature.label_zh.trim_start_matches("是否"))
            .collect();
        let found = i64::try_from(barring.len()).unwrap_or(i64::MAX);
        let text = if barring.is_empty() {
            "未列入失信或异常名单".to_owned()
        } else {
            format!("列入：{}", barring.join("、"))
        };
        criterion(Kind::NotBarred, barring.is_empty(), found, 0, text)
    }
}

fn no_loss(history: &History) -> QualityCriterion {
    let text = match history.losses {
        0 => "无违约或到期未还贷款".to_owned(),
        losses => format!("有{losses}笔贷款违约或到期未还"),
    };
    criterion(Kind::NoLoss, history.losses == 0, history.losses, 0, text)
}

/// Whether all are met.
#[must_use]
pub fn qualifies(criteria: &[QualityCriterion]) -> bool {
    criteria.iter().all(|criterion| criterion.met)
}

fn share(part: i64, whole: i64) -> i64 {
    if whole <= 0 { 0 } else { part.saturating_mul(ONE) / whole }
}

fn criterion(kind: Kind, met: bool, found: i64, asked: i64, text_zh: String) -> QualityCriterion {
    QualityCriterion { kind: kind.into(), met, found, asked, text_zh }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    const TODAY: Date = date(2026, 6, 1);

    fn good() -> History {
        History { repayments: 50, late: 1, losses: 0, last_demand: Some(date(2025, 6, 1)), ratings: 2, levels: 8 }
    }

    fn unmet(history: &History, features: &Features) -> Vec<Kind> {
        let criteria = Rules::standard().unwrap().assess(history, features, TODAY);
        assert_eq!(criteria.len(), 5);
        criteria.into_iter().filter(|criterion| !criterion.met).map(|criterion| criterion.kind()).collect()
    }

    #[test]
    fn what_just_reaches_every_criterion_is_in() {
        assert_eq!(unmet(&good(), &Features::new()), []);
    }

    #[test]
    fn each_criterion_keeps_out_alone() {
        let with = |change: fn(&mut History)| {
            let mut history = good();
            change(&mut history);
            unmet(&history, &Features::new())
        };
        assert_eq!(with(|of| of.late = 2), [Kind::OnTime]);
        assert_eq!(with(|of| (of.repayments, of.late) = (0, 0)), [Kind::OnTime]);
        assert_eq!(with(|of| of.losses = 1), [Kind::NoLoss]);
        assert_eq!(with(|of| of.last_demand = Some(date(2025, 5, 31))), [Kind::Demand]);
        assert_eq!(with(|of| of.last_demand = None), [Kind::Demand]);
        assert_eq!(with(|of| of.levels = 7), [Kind::Rating]);
        assert_eq!(with(|of| (of.ratings, of.levels) = (0, 0)), [Kind::Rating]);
        let listed = Features::from([("is_dishonest".to_owned(), FeatureValue::Bool(true))]);
        assert_eq!(unmet(&good(), &listed), [Kind::NotBarred]);
        let cleared = Features::from([("is_dishonest".to_owned(), FeatureValue::Bool(false))]);
        assert_eq!(unmet(&good(), &cleared), []);
    }
}
