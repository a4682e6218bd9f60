//! How many differences are allowed.

use std::str::FromStr;

use super::compare::Kind;

/// `--allow KIND`, `KIND=N` or `KIND=P%`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allowance {
    /// The kind of difference.
    pub kind: Kind,
    /// How many records may have it.
    pub most: Most,
}

/// A bound for the records of a kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Most {
    /// As many as there are.
    Any,
    /// This many.
    Records(u64),
    /// This part of the records compared, in percent.
    Percent(f64),
}

impl Most {
    /// Whether `count` of `records` are too many.
    pub(super) fn is_exceeded(self, count: u64, records: u64) -> bool {
        match self {
            Most::Any => false,
            Most::Records(most) => count > most,
            Most::Percent(percent) => count as f64 * 100.0 > percent * records as f64,
        }
    }
}

impl FromStr for Allowance {
    type Err = String;

    fn from_str(text: &str) -> Result<Allowance, String> {
        let (name, bound) = text.split_once('=').map_or((text, None), |(name, bound)| (name, Some(bound)));
        let known = || Kind::ALL.into_iter().chain([Kind::NoRecords]);
        let kind = known().find(|kind| kind.name() == name).ok_or_else(|| {
            let names: Vec<&str> = known().map(Kind::name).collect();
            format!("the kind must be one of {}", names.join(", "))
        })?;
        let percent = |text: &str| text.parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
        let most = match bound {
            None => Some(Most::Any),
            Some(bound) => match bound.strip_suffix('%') {
                Some(text) => percent(text).map(Most::Percent),
                None => bound.parse().ok().map(Most::Records),
            },
        };
        let most = most.ok_or("must be KIND, KIND=RECORDS or KIND=PERCENT%")?;
        Ok(Allowance { kind, most })
    }
}
