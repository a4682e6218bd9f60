mod locating;
mod splicing;
mod simple;
mod tree;
mod generated;
mod suite;

use super::*;

/// What `paths` lead to in `doc`.
fn locate(doc: &str, paths: &[&str]) -> Result<(PathSet, Found), JsonError> {
    let paths: Vec<Path> = paths.iter().map(|path| path.parse().unwrap()).collect();
    let paths = PathSet::new(&paths).unwrap();
    let mut found = Found::default();
    Locator::default().locate(doc.as_bytes(), &paths, &mut found)?;
    Ok((paths, found))
}
