//! Which computed features rest on a category of records: pure.

use std::collections::BTreeSet;

use zhirong_proto::profile::v1::Category;

use crate::{
    appraisal::{self, Model},
    profile::{GRADE, SCORE},
    quality::{self, Rules},
    scorecard::Scorecard,
    tier::{self, Tiers},
};

/// Names of the computed features that a record of the category can move, in order.
///
/// # Errors
/// When what is compiled in from seeds/ is broken, which a test excludes.
pub fn computed_values(category: &Category, scorecard: &Scorecard) -> Result<Vec<String>, String> {
    let card = scorecard.card().characteristics.iter().map(|of| of.feature.as_str());
    // in the order in which they are computed: a later one may rest on an earlier one
    let steps: [(&[&str], Vec<&str>); 4] = [
        (&[SCORE, GRADE], card.collect()),
        (&[quality::FEATURE], Rules::standard()?.features().collect()),
        (&[appraisal::FEATURE], Model::standard()?.features().collect()),
        (&[tier::FEATURE], Tiers::standard()?.features().collect()),
    ];
    let mut reached: BTreeSet<&str> = category.fields.iter().map(|field| field.feature.as_str()).collect();
    let mut found = BTreeSet::new();
    for (values, inputs) in steps {
        if inputs.iter().any(|input| reached.contains(input)) {
            reached.extend(values);
            found.extend(values);
        }
    }
    Ok(found.into_iter().map(|name: &&str| (*name).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use zhirong_proto::profile::v1::CategoryField;

    use super::*;
    use crate::scorecard;

    #[test]
    fn a_value_rests_on_what_it_is_computed_from_and_on_what_that_is() {
        let of = |feature: &str| {
            let field = CategoryField { feature: feature.to_owned(), ..CategoryField::default() };
            let category = Category { fields: vec![field], ..Category::default() };
            computed_values(&category, &Scorecard::new(scorecard::first().unwrap())).unwrap()
        };
        let of_penalties = of("penalty_count_36m");
        assert!(
            ["credit_grade", "credit_score", "ip_value_fen"]
                .iter()
                .all(|name| of_penalties.contains(&(*name).to_owned()))
        );
        assert!(of("is_dishonest").contains(&"is_quality_enterprise".to_owned()));
        assert_eq!(of("talent_count"), ["ip_value_fen"]);
        assert!(of("trademark_count").is_empty() && of("").is_empty());
    }
}
