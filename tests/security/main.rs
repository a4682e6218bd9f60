//! How connections are protected, on an Apache Kafka with certificates of the test's own: who is let
//! in and who is not, that nothing less is settled for, that secrets stay secret, and which ACLs are
//! needed.

mod acls;
mod authority;
mod broker;
mod downgrade;
mod mill;
mod panics;
mod sasl;
mod secrets;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod wire;

use broker::{Listener, kafka};
use mill::{Mill, Said};
use support::{Names, goods};

/// A few records that are to be transformed.
struct Trial {
    names: Names,
}

const RECORDS: usize = 20;

impl Trial {
    fn new(what: &str) -> Trial {
        let names = Names::new(what);
        let open = kafka().open();
        open.create(&names.source, 1, &[]);
        open.produce(&names.source, 0, &goods(RECORDS));
        Trial { names }
    }

    /// `run` through this listener.
    fn through(&self, listener: Listener) -> Mill {
        Mill::through(kafka(), listener, &self.names)
    }

    /// Every record is transformed.
    fn succeeds(&self, mill: Mill) -> Said {
        let said = mill.run().expect(0, &[]);
        assert_eq!(self.written(), RECORDS);
        self.names.expect_clean(&kafka().open(), "partition");
        said
    }

    /// The program says this and stops; nothing is written.
    fn is_refused(&self, mill: Mill, parts: &[&str]) -> Said {
        let said = mill.run().expect(1, parts);
        assert_eq!(self.written(), 0);
        said
    }

    /// How many records are written, as far as there is a topic for them.
    fn written(&self) -> usize {
        let open = kafka().open();
        let there = open.runtime.block_on(open.client().topic(&self.names.destination)).unwrap();
        if there.is_some() { open.consume(&self.names.destination, 0).len() } else { 0 }
    }
}
