//! What a remote store is told beside its address: the environment, handed in, and what flags chose.

use std::collections::HashMap;

/// The environment and the flags. It may hold secrets, so it cannot be printed.
#[derive(Clone, Default)]
pub struct Settings {
    variables: HashMap<String, String>,
    chosen: HashMap<&'static str, String>,
}

impl Settings {
    /// With these environment variables; empty ones count as not set.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let variables = variables.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        Self { variables, chosen: HashMap::new() }
    }

    /// The same, where `option` (a name that an address's query takes too, like `endpoint`) is chosen.
    #[must_use]
    pub fn with(mut self, option: &'static str, value: impl Into<String>) -> Self {
        self.chosen.insert(option, value.into());
        self
    }

    /// The same, where nobody chose `option`, and `variable` is not set: what was meant for another server.
    #[must_use]
    pub fn without(mut self, option: &str, variable: &str) -> Self {
        self.chosen.remove(option);
        self.variables.remove(variable);
        self
    }

    /// An environment variable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// What a flag chose.
    pub fn chosen(&self, option: &str) -> Option<&str> {
        self.chosen.get(option).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_is_not_set() {
        let settings = Settings::new([("A".into(), String::new()), ("B".into(), "b".into())]);
        assert_eq!((settings.variable("A"), settings.variable("B")), (None, Some("b")));
        let settings = settings.with("region", "x");
        assert_eq!(settings.chosen("region"), Some("x"));
        let without = settings.without("region", "B");
        assert_eq!((without.chosen("region"), without.variable("B")), (None, None));
    }
}
