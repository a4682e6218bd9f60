//! Any values, one a line: every kernel of this machine does the same as its safe twin.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use md5::{Digest as _, Md5};
use topicmill_fuzz::answers;
use topicmill_kernels::{
    Kernel,
    hex::{hex_digits, write_hex},
    md5::md5_many,
    testing::locate_everywhere,
};
use topicmill_mill::transform::NameEvent;

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((&count, lines)) = input.split_first() else { return Corpus::Reject };
    // Each at the end of its own allocation, where the sanitizer sees any byte read beyond.
    let lines: Vec<Box<[u8]>> = lines.split(|byte| *byte == b'\n').map(Box::from).collect();
    lines.iter().for_each(|line| drop(locate_everywhere(line)));

    // As many values as fill several rows of lanes, from few lines.
    let count = lines.len().max(usize::from(count) % 70);
    let values: Vec<&[u8]> = lines.iter().map(|line| &**line).cycle().take(count).collect();
    let expected: Vec<[u8; 16]> = values.iter().map(|value| Md5::digest(value).into()).collect();
    let mut digests = Vec::new();
    for kernel in Kernel::available() {
        md5_many(kernel, values.iter().copied(), &mut digests);
        assert_eq!(digests, expected, "{kernel:?}");
    }
    for digest in &expected {
        let mut digits = [0; 32];
        write_hex(digest, &mut digits);
        assert_eq!(hex_digits(digest), digits);
    }

    let twin = answers(&mut NameEvent::with_kernel(Kernel::PORTABLE), &values);
    for kernel in Kernel::available() {
        assert_eq!(answers(&mut NameEvent::with_kernel(kernel), &values), twin, "{kernel:?}");
    }
    Corpus::Keep
});
