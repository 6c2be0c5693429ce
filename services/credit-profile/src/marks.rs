//! Whose profiles are to be computed again, and by what: pure.

use std::collections::{BTreeMap, BTreeSet};

/// Enterprises in order, each with the categories of which its records have changed; none for one of which something else has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks(BTreeMap<String, BTreeSet<String>>);

impl Marks {
    /// A record of a category was added, changed or taken away.
    pub fn record(&mut self, enterprise: &str, category: &str) {
        let categories = self.0.entry(enterprise.to_owned()).or_default();
        if !categories.contains(category) {
            categories.insert(category.to_owned());
        }
    }

    /// Something else has changed that the profile follows.
    pub fn other(&mut self, enterprise: &str) {
        self.0.entry(enterprise.to_owned()).or_default();
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each enterprise, in order, with its categories, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &BTreeSet<String>)> {
        self.0.iter().map(|(enterprise, categories)| (enterprise.as_str(), categories))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_one_enterprise_add_up() {
        let mut marks = Marks::default();
        assert!(marks.is_empty());
        marks.other("b");
        marks.record("b", "patent");
        marks.record("b", "patent");
        marks.record("b", "invoice");
        marks.other("b");
        marks.other("a");
        let told: Vec<(&str, Vec<&str>)> =
            marks.iter().map(|(of, categories)| (of, categories.iter().map(String::as_str).collect())).collect();
        assert_eq!(told, [("a", vec![]), ("b", vec!["invoice", "patent"])]);
    }
}
