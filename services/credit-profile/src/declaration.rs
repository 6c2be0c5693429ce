//! How this program derives features from records, told apart from how another release does. What a profile has kept is taken on only
//! by a program that would have derived it alike.

use sha2::{Digest as _, Sha256};
use zhirong_kernel::feature::{Feature, FeatureDictionary};

/// The rules by which features are derived and told, as they are compiled in. Of a number that is to be raised by hand somebody would
/// not think; a comment that is changed costs as much as a new day does.
const RULES: [&str; 2] = [include_str!("features.rs"), include_str!("profile.rs")];

/// What stands for the declaration of features and for what is done by it.
#[must_use]
pub fn fingerprint() -> [u8; 32] {
    of(FeatureDictionary::standard().iter(), &RULES)
}

fn of<'a>(features: impl Iterator<Item = &'a Feature>, rules: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    // labels and what is good for credit are for whoever reads a feature
    for Feature { name, kind, unit, category, aggregate, window_months, fresh_days, .. } in features {
        hash.update(format!("{name},{kind},{unit},{category},{aggregate:?},{window_months:?},{fresh_days:?}\n"));
    }
    for rule in rules {
        hash.update(Sha256::digest(rule));
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_a_value_changes_the_fingerprint_and_a_label_does_not() {
        let standard: Vec<Feature> = FeatureDictionary::standard().iter().cloned().collect();
        let with = |change: fn(&mut Feature)| {
            let mut features = standard.clone();
            features.iter_mut().filter(|feature| feature.name == "tax_paid_12m_fen").for_each(change);
            of(features.iter(), &RULES)
        };
        assert_eq!(with(|_| ()), fingerprint());
        assert_eq!(with(|feature| feature.label_zh.push('新')), fingerprint());
        assert_ne!(with(|feature| feature.window_months = Some(24)), fingerprint());
        assert_ne!(with(|feature| feature.fresh_days = Some(30)), fingerprint());
        assert_ne!(with(|feature| feature.name.push('2')), fingerprint());
        assert_ne!(of(standard.iter().skip(1), &RULES), fingerprint());
        assert_ne!(of(standard.iter(), &[RULES[0], ""]), fingerprint());
    }
}
