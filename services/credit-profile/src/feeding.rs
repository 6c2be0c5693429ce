//! Which field may feed which feature: pure. A field that feeds what it does not fit would give numbers that are wrong by a factor, or
//! that count one thing twice, and nobody would see it.

use std::collections::BTreeMap;

use zhirong_kernel::feature::{Aggregate, FeatureDictionary, FeatureType};
use zhirong_proto::profile::v1::{Category, CategoryField, FieldType};

/// The category of features that the profile computes by itself.
const COMPUTED: &str = "profile";

/// A field that can't feed its feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The category.
    pub category: String,
    /// Place of the field in it, from 0.
    pub index: usize,
    /// The field's name.
    pub field: String,
    /// The feature's name.
    pub feature: String,
    /// What is wrong.
    pub why: String,
}

impl std::fmt::Display for Misfit {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { category, field, feature, why, .. } = self;
        write!(out, "the field `{field}` of the category `{category}` can't feed the feature `{feature}`, which {why}")
    }
}

/// Fields of a category that can't feed their features, whatever other categories there are.
#[must_use]
pub fn within(category: &Category) -> Vec<Misfit> {
    let mut fed: BTreeMap<&str, &str> = BTreeMap::new();
    let mut found = Vec::new();
    for (index, field) in category.fields.iter().enumerate().filter(|(_, field)| !field.feature.is_empty()) {
        let twice = fed.insert(&field.feature, &field.name).map(|other| format!("the field `{other}` feeds already"));
        if let Some(why) = misfit(field).or(twice) {
            found.push(told(category, index, field, why));
        }
    }
    found
}

/// Fields of different categories that together can't feed one feature. The latest, the largest and the smallest of several
/// categories is one of them; a sum or a number of records would count what stands in both twice.
#[must_use]
pub fn across(categories: &BTreeMap<String, Category>) -> Vec<Misfit> {
    let mut fed: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    let mut found = Vec::new();
    for category in categories.values() {
        for (index, field) in category.fields.iter().enumerate() {
            let adds_up = FeatureDictionary::standard()
                .get(&field.feature)
                .is_some_and(|feature| matches!(feature.aggregate, Aggregate::Sum | Aggregate::Count));
            if !adds_up {
                continue;
            }
            let (first, other) = *fed.entry(&field.feature).or_insert((&category.category, &field.name));
            if first != category.category {
                let why = format!(
                    "adds up, and the field `{other}` of the category `{first}` feeds it already: what stands in both would count twice"
                );
                found.push(told(category, index, field, why));
            }
        }
    }
    found
}

/// All that is wrong with categories together.
#[must_use]
pub fn all(categories: &BTreeMap<String, Category>) -> Vec<Misfit> {
    categories.values().flat_map(within).chain(across(categories)).collect()
}

fn told(category: &Category, index: usize, field: &CategoryField, why: String) -> Misfit {
    Misfit {
        category: category.category.clone(),
        index,
        field: field.name.clone(),
        feature: field.feature.clone(),
        why,
    }
}

/// Why the feature can't take the field's values.
fn misfit(field: &CategoryField) -> Option<String> {
    let Some(feature) = FeatureDictionary::standard().get(&field.feature) else {
        return Some("does not stand in the dictionary of features".to_owned());
    };
    if feature.category == COMPUTED {
        return Some("the profile computes by itself".to_owned());
    }
    let (kind, unit) = match field.r#type() {
        FieldType::Unspecified => return Some("needs a field of a known type".to_owned()),
        FieldType::Text if feature.aggregate == Aggregate::Count => return None,
        _ if feature.aggregate == Aggregate::Count => {
            return Some("counts records: it needs a text that names what is counted, such as its number".to_owned());
        }
        FieldType::Integer => (FeatureType::Int, field.unit.as_str()),
        // a date becomes the days since
        FieldType::Date if feature.aggregate == Aggregate::Sum => {
            return Some("adds up, and days since dates do not".to_owned());
        }
        FieldType::Date => (FeatureType::Int, "days"),
        FieldType::Boolean => (FeatureType::Bool, ""),
        FieldType::Text => (FeatureType::Text, ""),
    };
    if kind != feature.kind {
        return Some(format!("is of the type {}, while the field gives {kind}", feature.kind));
    }
    (unit != feature.unit).then(|| format!("is in `{}`, while the field gives `{unit}`", feature.unit))
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::{
        fixture::{Fixture, NOW},
        store,
    };

    fn field(name: &str, kind: FieldType, unit: &str, feature: &str) -> CategoryField {
        CategoryField {
            name: name.to_owned(),
            r#type: kind.into(),
            unit: unit.to_owned(),
            feature: feature.to_owned(),
            ..CategoryField::default()
        }
    }

    fn category(name: &str, fields: Vec<CategoryField>) -> Category {
        Category { category: name.to_owned(), fields, ..Category::default() }
    }

    #[test]
    fn each_way_not_to_fit_is_told_with_field_and_feature() {
        use FieldType::{Boolean, Date, Integer, Text};
        for (kind, unit, feature, why) in [
            (Integer, "fen", "no_such_feature", "does not stand in the dictionary"),
            (Integer, "points", "credit_score", "computes by itself"),
            (Integer, "count", "lender_count", "needs a text that names"),
            (Date, "", "legal_person_change_count", "days since dates do not"),
            (Boolean, "", "patent_count", "type int, while the field gives bool"),
            (Integer, "", "is_high_tech", "type bool, while the field gives int"),
            (Text, "", "max_overdue_days", "type int, while the field gives text"),
            (Integer, "ppm", "annual_revenue_fen", "is in `fen`, while the field gives `ppm`"),
            (Integer, "", "annual_revenue_fen", "is in `fen`, while the field gives ``"),
            (Date, "", "employee_count", "is in `count`, while the field gives `days`"),
        ] {
            let found = within(&category("odd", vec![field("amount", kind, unit, feature)]));
            let [misfit] = found.as_slice() else { panic!("{feature}: {found:?}") };
            assert!(misfit.why.contains(why), "{misfit}");
            let told = misfit.to_string();
            assert!(told.contains("`amount`") && told.contains("`odd`") && told.contains(feature), "{told}");
        }
        for (kind, unit, feature) in [
            (Integer, "fen", "annual_revenue_fen"),
            (Integer, "days", "age_days"),
            (Date, "", "age_days"),
            (Text, "", "lender_count"),
            (Text, "", "tax_credit_grade"),
            (Boolean, "", "is_high_tech"),
            (Integer, "ppm", ""),
        ] {
            assert_eq!(within(&category("fits", vec![field("amount", kind, unit, feature)])), []);
        }
    }

    #[test]
    fn one_feature_is_not_fed_twice_where_that_counts_twice() {
        let patents = || field("patents", FieldType::Integer, "count", "patent_count");
        let found =
            within(&category("patent", vec![patents(), field("more", FieldType::Integer, "count", "patent_count")]));
        assert_eq!((found.len(), found[0].index), (1, 1));
        assert!(found[0].why.contains("`patents` feeds already"), "{}", found[0]);
        let of = |all: Vec<Category>| {
            across(&all.into_iter().map(|category| (category.category.clone(), category)).collect())
        };
        let found = of(vec![category("patent", vec![patents()]), category("software", vec![patents()])]);
        assert_eq!((found.len(), found[0].category.as_str()), (1, "software"));
        assert!(found[0].why.contains("`patents` of the category `patent`"), "{}", found[0]);
        let grade = || field("grade", FieldType::Text, "", "tax_credit_grade");
        assert_eq!(
            of(vec![category("tax", vec![grade()]), category("customs", vec![grade()])]),
            [],
            "the latest is one"
        );
    }

    #[tokio::test]
    async fn what_does_not_fit_is_not_put_into_force_and_keeps_the_service_from_starting() {
        let patents = || field("patents", FieldType::Integer, "count", "patent_count");
        let fixture = Fixture::new(&[category("patent", vec![patents()])]).await;
        let mut tx = fixture.pool.begin().await.unwrap();
        let refused = store::put_category(&mut tx, &category("software", vec![patents()])).await.unwrap_err();
        assert!(refused.to_string().contains("the field `patents` of the category `software`"), "{refused}");
        tx.rollback().await.unwrap();

        let now = NOW.parse().unwrap();
        crate::begin(&fixture.pool, now).await.unwrap();
        // as a version before, with other features, may have left it
        let old = category("patent", vec![field("worth", FieldType::Integer, "fen", "patent_worth_fen")]);
        sqlx::query("UPDATE category SET content = $1").bind(old.encode_to_vec()).execute(&fixture.pool).await.unwrap();
        let refused = crate::begin(&fixture.pool, now).await.unwrap_err().to_string();
        let said = "the field `worth` of the category `patent` can't feed the feature `patent_worth_fen`, which does not stand";
        assert!(refused.contains(said), "{refused}");
    }
}
