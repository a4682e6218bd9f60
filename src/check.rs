//! `check`: what is wrong with a configuration, without a broker.

use std::io::{self, Write};

use crate::config::Config;

/// Writes the merged configuration, with secrets as `***`, and `# ok`: it can be saved as a file.
///
/// # Errors
/// When `out` cannot be written.
pub(crate) fn run(config: &Config, out: &mut impl Write) -> io::Result<()> {
    write!(out, "{config}\n# ok\n")?;
    out.flush()
}
