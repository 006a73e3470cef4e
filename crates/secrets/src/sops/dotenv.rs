//! `NAME=value` lines, the seal among them: `sops_mac=`, `sops_age__list_0__map_enc=`.

use super::tree::Node;

/// What stands before a line of the seal.
const SEAL: &str = "sops_";
/// Around the number of a recipient of age in such a line.
const AGE: (&str, &str) = ("age__list_", "__map_enc");

/// The values of `text` in their order, and the seal under `sops` as the other forms have it.
pub(super) fn read(text: &str) -> Result<Vec<Node>, String> {
    let (mut entries, mut seal, mut age) = (vec![], vec![], vec![]);
    for (number, line) in text.split('\n').enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').ok_or_else(|| format!("line {}", number + 1))?;
        let value = Node::Text(value.replace("\\n", "\n"));
        match name.strip_prefix(SEAL) {
            None => entries.push((name.to_owned(), value)),
            Some(name) if name.starts_with(AGE.0) && name.ends_with(AGE.1) => {
                age.push(Node::Map(vec![("enc".to_owned(), value)]));
            }
            Some(name) if name.starts_with(AGE.0) => {}
            // A list of other keys is there by its name alone, `pgp__list_0__map_fp`.
            Some(name) => {
                seal.push((name.split("__list_").next().unwrap_or(name).to_owned(), value));
            }
        }
    }
    if !seal.is_empty() {
        seal.push(("age".to_owned(), Node::List(age)));
        entries.push(("sops".to_owned(), Node::Map(seal)));
    }
    Ok(vec![Node::Map(entries)])
}
