//! Values where they stand, and how they compare.

use std::{borrow::Cow, cmp::Ordering};

use super::{Comparison, Literal, eval::Fault, number::Number};
use crate::json::Kind;

/// A value, without having been copied if it stands somewhere.
#[derive(Debug)]
pub(super) enum Item<'d> {
    Null,
    Bool(bool),
    Integer(i64),
    /// A number as it is written.
    Number(&'d [u8]),
    /// A text, decoded.
    Text(Cow<'d, str>),
    /// An array or object as it is written.
    Tree(Kind, &'d [u8]),
}

impl Comparison {
    /// Whether it holds for what is in this order.
    pub(super) fn is(self, order: Ordering) -> bool {
        match self {
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
            Comparison::Equal => order.is_eq(),
            Comparison::NotEqual => order.is_ne(),
        }
    }
}

impl<'d> Item<'d> {
    pub(super) fn of_literal(literal: &'d Literal) -> Item<'d> {
        match literal {
            Literal::Null => Item::Null,
            Literal::Bool(value) => Item::Bool(*value),
            Literal::Integer(value) => Item::Integer(*value),
            Literal::Number(text) => Item::Number(text.as_bytes()),
            Literal::Text(text) => Item::Text(Cow::Borrowed(text)),
        }
    }

    /// Neither null nor false.
    pub(super) fn is_true(&self) -> bool {
        !matches!(self, Item::Null | Item::Bool(false))
    }

    pub(super) const fn kind(&self) -> Kind {
        match self {
            Item::Null => Kind::Null,
            Item::Bool(_) => Kind::Bool,
            Item::Integer(_) | Item::Number(_) => Kind::Number,
            Item::Text(_) => Kind::String,
            Item::Tree(kind, _) => *kind,
        }
    }

    fn number(&self) -> Option<Number> {
        match self {
            Item::Integer(value) => Some(Number::Integer(*value)),
            Item::Number(text) => Some(Number::of(text)),
            _ => None,
        }
    }

    /// Where the type comes among the types when values are ordered.
    const fn rank(&self) -> u8 {
        match self.kind() {
            Kind::Null => 0,
            Kind::Bool => 1,
            Kind::Number => 2,
            Kind::String => 3,
            Kind::Array => 4,
            Kind::Object => 5,
        }
    }

    /// # Errors
    /// When both are arrays, or both objects.
    pub(super) fn compare(&self, comparison: Comparison, other: &Item<'_>) -> Result<bool, Fault> {
        Ok(match comparison {
            Comparison::Equal => self.equals(other)?,
            Comparison::NotEqual => !self.equals(other)?,
            comparison => comparison.is(self.order(other)?),
        })
    }

    #[inline]
    pub(super) fn equals(&self, other: &Item<'_>) -> Result<bool, Fault> {
        match (self, other) {
            (Item::Text(left), Item::Text(right)) => Ok(left == right),
            (Item::Bool(left), Item::Bool(right)) => Ok(left == right),
            (Item::Null, Item::Null) => Ok(true),
            (Item::Tree(left, _), Item::Tree(right, _)) if left == right => Err(Fault::Tree),
            (left, right) => Ok(match (left.number(), right.number()) {
                (Some(left), Some(right)) => left.equals(right),
                _ => false,
            }),
        }
    }

    fn order(&self, other: &Item<'_>) -> Result<Ordering, Fault> {
        match (self, other) {
            // The order of the bytes is that of the code points.
            (Item::Text(left), Item::Text(right)) => Ok(left.as_bytes().cmp(right.as_bytes())),
            (Item::Bool(left), Item::Bool(right)) => Ok(left.cmp(right)),
            (Item::Tree(left, _), Item::Tree(right, _)) if left == right => Err(Fault::Tree),
            (left, right) => Ok(match (left.number(), right.number()) {
                (Some(left), Some(right)) => left.order(right),
                _ => left.rank().cmp(&right.rank()),
            }),
        }
    }
}
