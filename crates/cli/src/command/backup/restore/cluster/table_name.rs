//! Names of tables as people write them: `db.schema.table`, each part as it is, or in double quotes where it has dots.

use pg::relations::TableName;

use crate::error::{CliError, Result};

/// Take `text` apart; without a database, that is said elsewhere.
pub(super) fn parse(text: &str) -> Result<(Option<String>, TableName)> {
    let wrong = || {
        CliError::usage(format!("{text:?} names no table of a cluster"))
            .hint("write it DATABASE.SCHEMA.TABLE, with double quotes around a name that has a dot in it")
    };
    let mut parts =
        parts(text).filter(|parts| parts.iter().all(|part| !part.is_empty())).ok_or_else(wrong)?;
    let (name, schema, database) = (parts.pop(), parts.pop(), parts.pop());
    match (schema, name, parts.is_empty()) {
        (Some(schema), Some(name), true) => Ok((database, TableName { schema, name })),
        _ => Err(wrong()),
    }
}

fn parts(text: &str) -> Option<Vec<String>> {
    let (mut parts, mut part, mut is_quoted) = (vec![], String::new(), false);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => {
                letters.next();
                part.push('"');
            }
            '"' => is_quoted = !is_quoted,
            '.' if !is_quoted => parts.push(std::mem::take(&mut part)),
            letter => part.push(letter),
        }
    }
    parts.push(part);
    (!is_quoted).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_as_they_are() {
        let told = |text: &str| {
            parse(text).ok().map(|(database, TableName { schema, name })| (database, schema, name))
        };
        let own = |database: Option<&str>, schema: &str, name: &str| {
            Some((database.map(str::to_owned), schema.to_owned(), name.to_owned()))
        };
        assert_eq!(told("app.public.Users"), own(Some("app"), "public", "Users"));
        assert_eq!(told("public.users"), own(None, "public", "users"));
        assert_eq!(
            told(r#""my.app".public."odd ""table"".""#),
            own(Some("my.app"), "public", "odd \"table\".")
        );
        for text in ["users", "", ".", "a..b", "a.b.c.d", "\"a.b", "public.", ".users"] {
            assert_eq!(told(text), None, "{text}");
        }
    }
}
