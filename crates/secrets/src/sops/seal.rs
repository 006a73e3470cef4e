//! The `sops` block of a file: who can open it, what in it is encrypted, and the seal over its values.

use regex::Regex;

use super::tree::Node;
use crate::sops_error::SopsError;

/// Without a rule, names that end so are left in the clear.
const UNENCRYPTED_SUFFIX: &str = "_unencrypted";
/// Kinds of keys that are not age's.
const OTHER_KEYS: [&str; 6] = ["pgp", "kms", "gcp_kms", "azure_kv", "hc_vault", "hckms"];

/// What the block says.
#[derive(Debug)]
pub(super) struct Seal {
    /// The data key, encrypted for each recipient of age.
    pub(super) keys: Vec<String>,
    /// As it stands there; the seal is bound to it.
    pub(super) last_modified: String,
    /// The hash over the values, encrypted.
    pub(super) mac: String,
    /// Only values that are encrypted are hashed.
    pub(super) is_over_encrypted: bool,
    rule: Rule,
}

#[derive(Debug)]
enum Rule {
    AllBut(Names),
    Only(Names),
}

#[derive(Debug)]
enum Names {
    EndWith(String),
    Match(Regex),
}

impl Names {
    fn has(&self, name: &str) -> bool {
        match self {
            Self::EndWith(suffix) => name.ends_with(suffix),
            Self::Match(regex) => regex.is_match(name),
        }
    }
}

impl Seal {
    /// Take the block out of `documents`, so that what is left is what was sealed.
    pub(super) fn take(documents: &mut [Node]) -> Result<Self, SopsError> {
        let mut blocks = documents.iter_mut().filter_map(|document| {
            let Node::Map(entries) = document else { return None };
            let place = entries.iter().position(|(name, _)| name == "sops")?;
            let (_, block) = entries.remove(place);
            Some(block)
        });
        // Each document repeats it; SOPS reads the first.
        let block = blocks.next().ok_or(SopsError::NotSealed("the sops block"))?;
        blocks.for_each(drop);
        Self::read(&block)
    }

    fn read(block: &Node) -> Result<Self, SopsError> {
        let text = |name| block.get(name).and_then(Node::text).filter(|text| !text.is_empty());
        let needed = |name| text(name).map(str::to_owned).ok_or(SopsError::NotSealed(name));
        Ok(Self {
            keys: keys(block)?,
            last_modified: needed("lastmodified")?,
            mac: needed("mac")?,
            is_over_encrypted: text("mac_only_encrypted").is_some_and(|it| it.eq_ignore_ascii_case("true")),
            rule: rule(&text)?,
        })
    }

    /// Whether the value under these names is encrypted.
    pub(super) fn is_encrypted(&self, names: &[&str]) -> bool {
        match &self.rule {
            Rule::AllBut(rule) => !names.iter().any(|name| rule.has(name)),
            Rule::Only(rule) => names.iter().any(|name| rule.has(name)),
        }
    }
}

fn keys(block: &Node) -> Result<Vec<String>, SopsError> {
    let groups = block.get("key_groups").map_or(&[][..], Node::items);
    if groups.len() > 1 {
        return Err(SopsError::Foreign("its key is split between groups (Shamir)".to_owned()));
    }
    let holder = groups.first().unwrap_or(block);
    let keys = holder.get("age").map_or(&[][..], Node::items).iter();
    let keys: Vec<_> = keys.filter_map(|key| Some(key.get("enc")?.text()?.to_owned())).collect();
    let others = OTHER_KEYS.iter().filter(|kind| holder.get(kind).is_some_and(|list| !list.is_empty()));
    let others: Vec<_> = others.copied().collect();
    match keys.is_empty() {
        false => Ok(keys),
        true if others.is_empty() => Err(SopsError::NotSealed("its key")),
        true => Err(SopsError::Foreign(format!("its key is kept by {}, not age", others.join(", ")))),
    }
}

fn rule<'a>(text: &dyn Fn(&'static str) -> Option<&'a str>) -> Result<Rule, SopsError> {
    let by_comments = ["encrypted_comment_regex", "unencrypted_comment_regex"];
    if let Some(name) = by_comments.into_iter().find(|name| text(name).is_some()) {
        return Err(SopsError::Foreign(format!("its rule {name} goes by comments")));
    }
    let regex = |pattern: &str| {
        let compiled = Regex::new(pattern);
        compiled
            .map(Names::Match)
            .map_err(|_| SopsError::Unreadable("its rule is no regular expression".to_owned()))
    };
    let ending = |suffix: &str| Names::EndWith(suffix.to_owned());
    let mut rules = vec![];
    rules.extend(text("unencrypted_suffix").map(|suffix| Rule::AllBut(ending(suffix))));
    rules.extend(text("encrypted_suffix").map(|suffix| Rule::Only(ending(suffix))));
    rules.extend(text("unencrypted_regex").map(regex).transpose()?.map(Rule::AllBut));
    rules.extend(text("encrypted_regex").map(regex).transpose()?.map(Rule::Only));
    match rules.len() {
        0 => Ok(Rule::AllBut(ending(UNENCRYPTED_SUFFIX))),
        1 => Ok(rules.remove(0)),
        _ => Err(SopsError::Unreadable("it has more than one rule about what is encrypted".to_owned())),
    }
}
