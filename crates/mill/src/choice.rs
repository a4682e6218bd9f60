//! Closed sets from which people choose by name, in a flag, the environment or a file.
//!
//! A set is an enum that derives strum's `Display`, `EnumString`, `EnumMessage` and `VariantArray`
//! with names in kebab case: its names and their meanings are there and nowhere else.

use std::{fmt::Display, str::FromStr};

use strum::{EnumMessage, ParseError, VariantArray};

/// An element of a closed set.
pub trait Choice:
    Copy + Send + Sync + Display + FromStr<Err = ParseError> + EnumMessage + VariantArray
{
    /// The name, as it is typed.
    fn name(self) -> &'static str {
        self.get_serializations()[0]
    }

    /// Its meaning: its documentation as one line, without the full stop.
    fn meaning(self) -> String {
        let lines = self.get_documentation().unwrap_or_default().split_whitespace();
        let text = lines.collect::<Vec<_>>().join(" ");
        text.strip_suffix('.').map_or(text.clone(), str::to_owned)
    }
}

impl<T> Choice for T where
    T: Copy + Send + Sync + Display + FromStr<Err = ParseError> + EnumMessage + VariantArray
{
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{delivery::DeliveryKind, strategy::OnPanic};

    #[test]
    fn a_choice_is_read_by_the_name_that_it_is_written_with() {
        assert_eq!(
            (OnPanic::DeadLetter.name(), OnPanic::DeadLetter.to_string()),
            ("dead-letter", "dead-letter".into())
        );
        assert!(OnPanic::VARIANTS.iter().all(|choice| choice.name().parse() == Ok(*choice)));
        assert!("Stop".parse::<OnPanic>().is_err());
        let meaning = DeliveryKind::ExactlyOnce.meaning();
        assert!(meaning.contains("offsets in one transaction") && !meaning.ends_with('.'), "{meaning}");
    }
}
