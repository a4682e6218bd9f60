//! Closed sets as the values of flags.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::choice::Choice;

/// The names of a set with what they mean.
pub(crate) fn possible_values<T: Choice>() -> Vec<PossibleValue> {
    let value = |choice: &T| PossibleValue::new(choice.name()).help(choice.meaning());
    T::VARIANTS.iter().map(value).collect()
}

/// Reads one of the set's names.
pub(super) fn choice<T: Choice>() -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(possible_values::<T>()).try_map(|name| name.parse::<T>())
}
