//! What a settlement pays, and the file that a bank pays from.

use jiff::civil::Date;
use zhirong_kernel::Fen;

/// A month or a quarter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// 1 to 12.
    Month(i8),
    /// 1 to 4.
    Quarter(i8),
}

impl Period {
    /// Its first and last day in a year; none when there is no such period.
    #[must_use]
    pub fn days(self, year: i16) -> Option<(Date, Date)> {
        let (first, months) = match self {
            Self::Month(month) => (month, 1),
            Self::Quarter(quarter) => (quarter.checked_sub(1)?.checked_mul(3)?.checked_add(1)?, 3),
        };
        let from = Date::new(year, first, 1).ok()?;
        let last = first.checked_add(months)?.checked_sub(1)?;
        Some((from, Date::new(year, last, 1).ok()?.last_of_month()))
    }
}

/// Why a batch can't take a step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Days of it are still to come.
    #[error("the period ends on {0}; compute it afterwards")]
    PeriodNotOver(Date),
    /// Nothing is due.
    #[error("nothing is due for the period")]
    NothingDue,
    /// It does not wait for its review.
    #[error("the batch does not wait for its review")]
    NotComputed,
    /// It was not approved.
    #[error("the batch was not approved for payment, or is closed")]
    NotReviewed,
    /// No payment file was handed out.
    #[error("the payment file of the batch was not handed out; export it first")]
    NotExported,
    /// Nobody reviews what they computed.
    #[error("a batch is reviewed by another person than who computed it")]
    SamePerson,
    /// A line has ended otherwise.
    #[error("line {0} has ended otherwise")]
    LineEnded(String),
}

/// A payment of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Unique for all time.
    pub reference: String,
    /// To whom.
    pub enterprise_id: String,
    /// Its name; empty when it is not known.
    pub enterprise_name: String,
    /// The lender, through which the enterprise has an account.
    pub institution_id: String,
    /// The lender's reference of the loan.
    pub loan_reference: String,
    /// How much.
    pub amount: Fen,
}

/// The bank payment file: UTF-8 CSV (RFC 4180) with a head line. The same payments always give the same bytes.
///
/// # Errors
/// When it can't be written.
pub fn payment_file(payments: &[Payment]) -> Result<Vec<u8>, csv::Error> {
    let mut file = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    file.write_record([
        "reference",
        "uscc",
        "enterprise_name",
        "institution",
        "loan_reference",
        "amount_cny",
        "currency",
        "purpose",
    ])?;
    for payment in payments {
        file.write_record([
            payment.reference.as_str(),
            &payment.enterprise_id,
            &harmless(&payment.enterprise_name),
            &payment.institution_id,
            &harmless(&payment.loan_reference),
            &payment.amount.to_yuan_string(),
            "CNY",
            "贷款贴息",
        ])?;
    }
    file.into_inner().map_err(|error| csv::Error::from(std::io::Error::other(error.to_string())))
}

/// A text that a spreadsheet would take for a formula is marked as text.
fn harmless(text: &str) -> String {
    let risky = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if risky { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn months_and_quarters_have_their_days() {
        assert_eq!(Period::Month(2).days(2028), Some((date(2028, 2, 1), date(2028, 2, 29))));
        assert_eq!(Period::Quarter(4).days(2026), Some((date(2026, 10, 1), date(2026, 12, 31))));
        for none in
            [Period::Month(0), Period::Month(13), Period::Quarter(0), Period::Quarter(5), Period::Quarter(i8::MAX)]
        {
            assert_eq!(none.days(2026), None, "{none:?}");
        }
    }

    #[test]
    fn the_file_says_what_a_bank_needs_and_holds_no_formula() {
        let payment = Payment {
            reference: "0198".to_owned(),
            enterprise_id: "91331102MA2E0EXAMX".to_owned(),
            enterprise_name: "=cmd(), \"示例\"有限公司".to_owned(),
            institution_id: "sample-bank".to_owned(),
            loan_reference: "REF-1".to_owned(),
            amount: Fen::new(123_456_789),
        };
        let text = String::from_utf8(payment_file(&[payment]).unwrap()).unwrap();
        let lines: Vec<_> = text.split("\r\n").collect();
        assert_eq!(lines[0], "reference,uscc,enterprise_name,institution,loan_reference,amount_cny,currency,purpose");
        assert_eq!(
            lines[1],
            "0198,91331102MA2E0EXAMX,\"'=cmd(), \"\"示例\"\"有限公司\",sample-bank,REF-1,1234567.89,CNY,贷款贴息"
        );
    }
}
