//! Which values of a feature are better for an enterprise's credit. This belongs to the feature, not to a scorecard, so that
//! whoever writes a card can't turn it round by the way.

use std::{collections::BTreeMap, sync::LazyLock};

/// What better means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Better {
    /// A larger number, or yes.
    Higher,
    /// A smaller number, or no.
    Lower,
    /// Texts, best first.
    Order(Vec<String>),
}

static ORDER: LazyLock<BTreeMap<String, Better>> = LazyLock::new(|| {
    let text = include_str!("../../data/better.csv");
    text.lines()
        .skip(1)
        .filter_map(|row| row.split_once(','))
        .map(|(name, better)| (name.to_owned(), read(better)))
        .collect()
});

fn read(better: &str) -> Better {
    match better {
        "higher" => Better::Higher,
        "lower" => Better::Lower,
        order => Better::Order(order.split('>').map(str::to_owned).collect()),
    }
}

/// What better means for a feature; nothing where no value is better than another, as with an industry.
#[must_use]
pub fn of(feature: &str) -> Option<&'static Better> {
    ORDER.get(feature)
}

#[cfg(test)]
mod tests {
    use zhirong_kernel::feature::{FeatureDictionary, FeatureType};

    use super::*;

    #[test]
    fn every_row_is_of_a_feature_and_fits_its_type() {
        for (name, better) in ORDER.iter() {
            let feature = FeatureDictionary::standard().get(name).unwrap_or_else(|| panic!("{name} is no feature"));
            let is_text = feature.kind == FeatureType::Text;
            assert_eq!(is_text, matches!(better, Better::Order(_)), "{name}");
        }
    }
}
