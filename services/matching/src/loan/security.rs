//! What secures a loan beside the borrower's word: a guarantee with its shares of a loss, and pledged intellectual property.

use zhirong_kernel::id::InstitutionId;
use zhirong_proto::matching::v1::{Guarantee, IpKind, IpPledge, RiskBearer, RiskShare};

/// The whole of a loss, ppm.
pub const WHOLE_PPM: i64 = 1_000_000;
/// Pledges of one loan at most.
pub const MOST_PLEDGES: usize = 16;
const MOST_SHARES: usize = 16;
const LONGEST_REFERENCE: usize = 64;

/// A field of the request with what it must be.
pub type Violation = (&'static str, String);

/// What is wrong with a guarantee of a loan of this lender; empty when nothing is.
#[must_use]
pub fn guarantee(guarantee: &Guarantee, lender: &str) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let guarantor = guarantee.guarantor_institution_id.as_str();
    let shares = guarantee.risk_shares.as_slice();
    if !guarantor.is_empty() && guarantor.parse::<InstitutionId>().is_err() {
        wrong.push(("guarantee.guarantor_institution_id", "must be the id of an institution".to_owned()));
    }
    if guarantor == lender {
        wrong.push(("guarantee.guarantor_institution_id", "must not be the lender itself".to_owned()));
    }
    if guarantor.is_empty() && shares.is_empty() {
        wrong.push(("guarantee", "must name a guarantor or say who bears a loss".to_owned()));
    }
    let reference = guarantee.contract_reference.as_str();
    if reference.len() > LONGEST_REFERENCE || !reference.bytes().all(|byte| byte.is_ascii_graphic()) {
        let why = format!("must be at most {LONGEST_REFERENCE} printable ASCII characters");
        wrong.push(("guarantee.contract_reference", why));
    }
    if guarantee.fee_fen < 0 {
        wrong.push(("guarantee.fee_fen", "must not be negative".to_owned()));
    }
    if !shares.is_empty() {
        wrong.extend(shared(shares, guarantor, lender).map(|why| ("guarantee.risk_shares", why)));
    }
    wrong
}

/// What is wrong with the shares; each party stands once, and nothing of a loss is left over.
fn shared(shares: &[RiskShare], guarantor: &str, lender: &str) -> Option<String> {
    if shares.len() > MOST_SHARES {
        return Some(format!("must be at most {MOST_SHARES}"));
    }
    for (position, share) in shares.iter().enumerate() {
        let institution = share.institution_id.as_str();
        let fits = match share.bearer() {
            RiskBearer::Unspecified => return Some("must each name who bears it".to_owned()),
            RiskBearer::PolicyPool => institution.is_empty(),
            RiskBearer::Lender => institution == lender,
            RiskBearer::Guarantor | RiskBearer::Insurer => institution.parse::<InstitutionId>().is_ok(),
        };
        if !fits {
            return Some(
                "must name the lender itself, a guarantor or an insurer, and nobody for a policy pool".to_owned(),
            );
        }
        if share.share_ppm <= 0 {
            return Some("must each be positive".to_owned());
        }
        let party = (share.bearer, institution);
        if shares
            .iter()
            .skip(position.saturating_add(1))
            .any(|other| (other.bearer, other.institution_id.as_str()) == party)
        {
            return Some("must name each party once".to_owned());
        }
    }
    let bears = |share: &RiskShare| share.institution_id == guarantor;
    if !guarantor.is_empty() && !shares.iter().any(bears) {
        return Some("must give the guarantor its share".to_owned());
    }
    let sum = shares.iter().try_fold(0_i64, |sum, share| sum.checked_add(share.share_ppm));
    (sum != Some(WHOLE_PPM)).then(|| format!("must sum to {WHOLE_PPM} ppm"))
}

/// What is wrong with pledges; empty when nothing is.
#[must_use]
pub fn pledges(pledges: &[IpPledge]) -> Vec<Violation> {
    let why = if pledges.len() > MOST_PLEDGES {
        Some(format!("must be at most {MOST_PLEDGES}"))
    } else {
        pledges.iter().enumerate().find_map(|(position, pledge)| {
            let number = pledge.registration_number.as_str();
            let again = |other: &IpPledge| (other.kind, other.registration_number.as_str()) == (pledge.kind, number);
            if pledge.kind() == IpKind::Unspecified {
                Some("must each have a kind".to_owned())
            } else if number.trim() != number || !(1..=LONGEST_REFERENCE).contains(&number.chars().count()) {
                Some(format!("must each have a registration number of 1 to {LONGEST_REFERENCE} characters"))
            } else if pledge.appraised_fen < 0 {
                Some("must not be appraised at less than nothing".to_owned())
            } else if pledges.iter().skip(position.saturating_add(1)).any(again) {
                Some("must be named once each".to_owned())
            } else {
                None
            }
        })
    };
    why.map(|why| ("ip_pledges", why)).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENDER: &str = "sample-one-bank";

    fn share(bearer: RiskBearer, institution: &str, share_ppm: i64) -> RiskShare {
        RiskShare { bearer: bearer.into(), institution_id: institution.to_owned(), share_ppm }
    }

    fn of(guarantor: &str, risk_shares: Vec<RiskShare>) -> Guarantee {
        Guarantee { guarantor_institution_id: guarantor.to_owned(), risk_shares, ..Guarantee::default() }
    }

    fn fields(wrong: &[Violation]) -> Vec<&'static str> {
        wrong.iter().map(|(field, _)| *field).collect()
    }

    #[test]
    fn shares_sum_to_the_whole_and_name_each_party_once() {
        use RiskBearer::{Guarantor, Lender, PolicyPool};
        let good = [
            share(PolicyPool, "", 400_000),
            share(Guarantor, "sample-guarantor", 400_000),
            share(Lender, LENDER, 200_000),
        ];
        assert_eq!(guarantee(&of("sample-guarantor", good.to_vec()), LENDER), []);
        assert_eq!(guarantee(&of("sample-guarantor", Vec::new()), LENDER), []);
        let less = |cut: i64| {
            let mut shares = good.to_vec();
            shares[0].share_ppm -= cut;
            shares
        };
        for shares in [
            less(1),
            less(-1),
            less(400_000),
            less(-i64::MAX / 2),
            vec![share(PolicyPool, "", 500_000), share(PolicyPool, "", 500_000)],
            vec![share(PolicyPool, LENDER, 1_000_000)],
            vec![share(Lender, "sample-two-bank", 1_000_000)],
            vec![share(RiskBearer::Unspecified, "", 1_000_000)],
            vec![share(Guarantor, "", 1_000_000)],
        ] {
            assert_eq!(fields(&guarantee(&of("", shares.clone()), LENDER)), ["guarantee.risk_shares"], "{shares:?}");
        }
        let without = vec![share(PolicyPool, "", 1_000_000)];
        assert_eq!(fields(&guarantee(&of("sample-guarantor", without), LENDER)), ["guarantee.risk_shares"]);
    }

    #[test]
    fn a_guarantee_has_somebody_who_stands_for_it() {
        assert_eq!(fields(&guarantee(&Guarantee::default(), LENDER)), ["guarantee"]);
        assert_eq!(fields(&guarantee(&of(LENDER, Vec::new()), LENDER)), ["guarantee.guarantor_institution_id"]);
        assert_eq!(fields(&guarantee(&of("No Slug", Vec::new()), LENDER)), ["guarantee.guarantor_institution_id"]);
        let odd =
            Guarantee { contract_reference: "合同".to_owned(), fee_fen: -1, ..of("sample-guarantor", Vec::new()) };
        assert_eq!(fields(&guarantee(&odd, LENDER)), ["guarantee.contract_reference", "guarantee.fee_fen"]);
    }

    #[test]
    fn pledges_are_named_once_and_have_a_kind_and_a_number() {
        let pledge = |kind: IpKind, number: &str, appraised_fen| IpPledge {
            kind: kind.into(),
            registration_number: number.to_owned(),
            appraised_fen,
        };
        let good = pledge(IpKind::Patent, "ZL-SAMPLE-1", 0);
        assert_eq!(pledges(&[good.clone(), pledge(IpKind::Trademark, "ZL-SAMPLE-1", 1)]), []);
        let many: Vec<IpPledge> = (0..17).map(|number| pledge(IpKind::Patent, &number.to_string(), 0)).collect();
        assert_eq!(pledges(&many[..16]), []);
        for bad in [
            vec![good.clone(), good],
            vec![pledge(IpKind::Unspecified, "1", 0)],
            vec![pledge(IpKind::Patent, "", 0)],
            vec![pledge(IpKind::Patent, &"1".repeat(65), 0)],
            vec![pledge(IpKind::Patent, "1", -1)],
            many,
        ] {
            assert_eq!(fields(&pledges(&bad)), ["ip_pledges"], "{bad:?}");
        }
    }
}
