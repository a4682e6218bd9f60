//! A transform of your own that writes none, one or several records for one, each to a topic of its choice.
//!
//! An order is `customer;country;item,item,...`. One without items is passed over; of any other each item is
//! written, with the customer as its key, to the topic of the order's country.
//!
//! `cargo run --example orders -- run --transform orders --source orders --destination items ...`

use std::{collections::HashMap, process::ExitCode, sync::Arc};

use topicmill::transform::{
    Emission, ErrorClass, HeadersWriter, Output, RecordView, Transform, TransformSpec, ValueError, Values,
    registry,
};

/// With this, `--transform orders` and `[transform] kind = "orders"` choose it.
pub static ORDERS: TransformSpec = TransformSpec {
    name: "orders",
    doc: "Each item of an order is written to the topic of its country",
    settings: &[],
    make: |_| Arc::new(|| Box::new(Orders::default())),
};

/// The most names of topics that are kept.
const TOPICS_MAX: usize = 1000;

/// Splits orders into items, by country.
#[derive(Debug, Default)]
pub struct Orders {
    /// The topic of each country: a name is cheap to hand on, and made only once.
    topics: HashMap<String, Arc<str>>,
}

impl Transform for Orders {
    fn apply(&mut self, values: &Values<'_>, out: &mut Output<'_>) {
        for (index, value) in values.iter() {
            let parts = std::str::from_utf8(value).ok().and_then(|text| {
                let (customer, rest) = text.split_once(';')?;
                rest.split_once(';').map(|(country, items)| (customer, country, items))
            });
            match parts {
                None => out.fail(index, ValueError::new(ErrorClass::Syntax, "no customer;country;items")),
                Some((_, _, "")) => out.skip(index),
                Some((customer, country, items)) => {
                    let record = values.record(index);
                    for (number, item) in items.split(',').enumerate() {
                        self.write(index, &record, (customer, country), (number, item), out);
                    }
                }
            }
        }
    }
}

impl Orders {
    fn write(
        &mut self,
        index: usize,
        record: &RecordView<'_>,
        (customer, country): (&str, &str),
        (number, item): (usize, &str),
        out: &mut Output<'_>,
    ) {
        let mut headers = HeadersWriter::default();
        headers.push(b"item", Some(number.to_string().as_bytes()));
        // Those of the country at home go to the destination.
        let topic = (country != "home").then(|| self.topic(country));
        let emission = Emission {
            topic: topic.as_ref(),
            key: Some(customer.as_bytes()),
            value: Some(&[item.as_bytes()]),
            headers: &headers.finish(),
            ..Emission::like(record)
        };
        out.emit(index, &emission);
    }

    fn topic(&mut self, country: &str) -> Arc<str> {
        if self.topics.len() >= TOPICS_MAX {
            self.topics.clear();
        }
        let name = || format!("items_{country}").into();
        Arc::clone(self.topics.entry(country.to_owned()).or_insert_with(name))
    }
}

fn main() -> ExitCode {
    // Before the command line is read.
    registry::register(&ORDERS).expect("no other transform has the name");
    topicmill::program()
}
