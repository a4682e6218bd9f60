//! What other members of a classic group say of themselves, what their leader makes of it, and what stands
//! beside committed offsets.
#![no_main]

use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use topicmill_kafka::fuzzing;

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Subscription(&'a [u8]),
    Assignment(&'a [u8]),
    Note(&'a str),
    Plan { subscriptions: Vec<&'a [u8]>, partitions: [u8; 4] },
}

fuzz_target!(|input: Input<'_>| match input {
    Input::Subscription(bytes) => fuzzing::subscription(bytes),
    Input::Assignment(bytes) => fuzzing::assignment(bytes),
    Input::Note(text) => fuzzing::note(text),
    Input::Plan { subscriptions, partitions } => fuzzing::plan(&subscriptions, partitions),
});
