//! The command line as a user meets it: exit codes, messages, precedence, secrets.

mod bad;
mod broker;
mod precedence;
mod program;
mod secrets;
mod steps;
mod texts;
