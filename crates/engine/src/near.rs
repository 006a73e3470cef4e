//! Names that are like one that is not there.

/// How many are told.
const TOLD_MAX: usize = 5;

/// Those of `known` that are most like `wrong`, the most alike first (Jaro-Winkler).
pub fn nearest(wrong: &str, known: &[&str]) -> Vec<String> {
    let mut all: Vec<_> = known.iter().map(|name| (strsim::jaro_winkler(wrong, name), *name)).collect();
    all.sort_by(|(one, a), (other, b)| other.total_cmp(one).then(a.cmp(b)));
    all.dedup();
    all.into_iter().take(TOLD_MAX).map(|(_, name)| name.to_owned()).collect()
}

/// As the end of a message.
pub(crate) fn told(near: &[String]) -> String {
    match near {
        [] => String::new(),
        near => format!("; there is {}", near.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_probably_meant_comes_first() {
        let near = nearest("public.user", &["public.orders", "public.users", "audit.users", "x"]);
        assert_eq!(near[0], "public.users");
        assert_eq!(near.len(), 4);
        assert_eq!(told(&near[..1]), "; there is public.users");
        assert_eq!(told(&[]), "");
    }
}
