//! Calculations with numbers as the interpreter does them.

use jaq_core::ops::Math;
use jaq_json::Num;

use super::{
    Value,
    eval::{Context, Fault, write_scalar},
    item::Item,
    make::Make,
    number::Number,
};
use crate::expr::jaq::write_number;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
}

impl Operator {
    pub(super) const fn of(math: Math) -> Option<Operator> {
        match math {
            Math::Add => Some(Operator::Add),
            Math::Sub => Some(Operator::Subtract),
            Math::Mul => Some(Operator::Multiply),
            Math::Div => Some(Operator::Divide),
            Math::Rem => None,
        }
    }

    /// The result for two numbers: of integers an integer, but for a quotient. None for what takes more
    /// than 64 bits.
    fn apply(self, left: &Number, right: &Number) -> Option<Number> {
        let float = |number: &Number| match number {
            Number::Integer(integer) => Some(*integer as f64),
            Number::Float(float) => Some(*float),
            Number::Big(_) => None,
        };
        if let (Number::Integer(left), Number::Integer(right)) = (left, right) {
            let integer = match self {
                Operator::Add => left.checked_add(*right),
                Operator::Subtract => left.checked_sub(*right),
                Operator::Multiply => left.checked_mul(*right),
                Operator::Divide => return Some(Number::Float(*left as f64 / *right as f64)),
            };
            return integer.map(Number::Integer);
        }
        let (left, right) = (float(left)?, float(right)?);
        Some(Number::Float(match self {
            Operator::Add => left + right,
            Operator::Subtract => left - right,
            Operator::Multiply => left * right,
            Operator::Divide => left / right,
        }))
    }
}

/// What a calculation results in.
pub(super) enum Amount {
    /// Of nothing.
    Null,
    Number(Number),
    /// What was not calculated with, as it is written.
    Written(Vec<u8>),
}

impl Amount {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Amount::Null => out.extend_from_slice(b"null"),
            Amount::Number(Number::Integer(integer)) => write_scalar(&Item::Integer(*integer), out),
            Amount::Number(Number::Float(float)) => write_number(&Num::Float(*float), out),
            Amount::Number(Number::Big(number)) => write_number(number, out),
            Amount::Written(text) => write_scalar(&Item::Number(text), out),
        }
    }

    fn number(self) -> Result<Number, Fault> {
        match self {
            Amount::Number(number) => Ok(number),
            Amount::Written(text) => Ok(Number::of(&text)),
            Amount::Null => Err(Fault::Tree),
        }
    }
}

impl Make {
    /// The only result, which has to be a number or a sum of nothing.
    pub(super) fn amount(&self, context: Context<'_>) -> Result<Amount, Fault> {
        match self {
            Make::Value(Value::Source(source)) => match source.item(context)? {
                Some(Item::Integer(integer)) => Ok(Amount::Number(Number::Integer(integer))),
                Some(Item::Number(text)) => Ok(Amount::Number(Number::of(text))),
                _ => Err(Fault::Tree),
            },
            Make::Calculation(left, operator, right) => {
                let (left, right) = (left.amount(context)?.number()?, right.amount(context)?.number()?);
                operator.apply(&left, &right).map(Amount::Number).ok_or(Fault::Tree)
            }
            Make::Length(lookup, elements) => {
                let length = lookup.length(elements, context)?;
                Ok(Amount::Number(Number::Integer(length as i64)))
            }
            Make::Sum(inner) => {
                let mut sum = Amount::Null;
                inner.each(context, &mut |make, context| {
                    let sum_before = std::mem::replace(&mut sum, Amount::Null);
                    sum = match sum_before {
                        Amount::Null => make.first_amount(context)?,
                        before => {
                            let next = make.amount(context)?.number()?;
                            let sum = Operator::Add.apply(&before.number()?, &next);
                            Amount::Number(sum.ok_or(Fault::Tree)?)
                        }
                    };
                    Ok(())
                })?;
                Ok(sum)
            }
            Make::If(..) | Make::Within(..) => {
                let mut only = Err(Fault::Tree);
                let mut count = 0;
                self.each(context, &mut |make, context| {
                    count += 1;
                    only = make.amount(context);
                    Ok(())
                })?;
                if count == 1 { only } else { Err(Fault::Tree) }
            }
            _ => Err(Fault::Tree),
        }
    }

    /// As [`amount`](Make::amount), of what stays as it is written if nothing is added.
    fn first_amount(&self, context: Context<'_>) -> Result<Amount, Fault> {
        match self {
            Make::Value(Value::Source(source)) => match source.item(context)? {
                Some(Item::Number(text)) => Ok(Amount::Written(text.to_vec())),
                _ => self.amount(context),
            },
            make => match make.amount(context)? {
                // A sum of nothing within a sum.
                Amount::Null => Err(Fault::Tree),
                amount => Ok(amount),
            },
        }
    }
}
