//! The command line as a user meets it: exit codes, messages, precedence, secrets.

mod bad;
mod broker;
mod precedence;
mod program;
mod recipes;
mod secrets;
mod steps;
mod texts;
