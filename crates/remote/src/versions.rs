//! What a bucket with versions remembers of its objects: `ListObjectVersions`, page by page.
//!
//! Form: names come percent-encoded, so that none of an attacker's breaks the XML. Invariant: complete, or an error.

use std::time::SystemTime;

use jiff::Timestamp;
use quick_xml::de::from_str;
use reqwest::Method;
use serde::Deserialize;
use store::StoreError;

use crate::address::decoded;
use crate::answer::Call;
use crate::signed::{Request, Signed};

/// One entry in the history of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// Whole name in the bucket.
    pub(crate) name: String,
    /// What tells it from the others of its name; `null` for one from before the bucket kept versions.
    pub(crate) id: String,
    /// When the store took it, by the store's clock.
    pub(crate) modified: SystemTime,
    /// Bytes; none of a marker.
    pub(crate) size: u64,
    /// Whether it only says that from here on there is no object.
    pub(crate) is_marker: bool,
    /// Whether it is the newest of its name.
    pub(crate) is_latest: bool,
}

/// Every version of every name that begins with `prefix`: of one name the newest first.
///
/// # Errors
/// What the server says; [`StoreError::Wrong`] where the listing does not end well.
pub(crate) async fn list(signed: &Signed, prefix: &str, call: Call<'_>) -> Result<Vec<Version>, StoreError> {
    let mut found = vec![];
    let mut next: Option<(String, String)> = None;
    loop {
        let mut query = vec![("versions", ""), ("prefix", prefix), ("encoding-type", "url")];
        if let Some((key, version)) = &next {
            query.push(("key-marker", key));
            query.extend((!version.is_empty()).then_some(("version-id-marker", version.as_str())));
        }
        let body = signed.ask(Request::new(Method::GET, "", &query), call).await?.body;
        let (entries, after) = page(&body).map_err(|what| call.wrong(what))?;
        if let Some(stray) = entries.iter().find(|entry| !entry.name.starts_with(prefix)) {
            return Err(call.wrong(format!("the listing has {}, which is elsewhere", stray.name)));
        }
        found.extend(entries);
        match after {
            None => return Ok(found),
            same if same == next => return Err(call.wrong("the listing turns in a circle")),
            after => next = after,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PageForm {
    is_truncated: bool,
    encoding_type: Option<String>,
    next_key_marker: Option<String>,
    #[serde(default)]
    next_version_id_marker: String,
    #[serde(rename = "$value", default)]
    elements: Vec<Element>,
}

/// Versions and markers stand in one order.
#[derive(Deserialize)]
enum Element {
    Version(EntryForm),
    DeleteMarker(EntryForm),
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EntryForm {
    key: String,
    #[serde(default)]
    version_id: String,
    last_modified: String,
    #[serde(default)]
    is_latest: bool,
    #[serde(default)]
    size: u64,
}

/// The entries of a page, and the name and version after which the next one begins.
type Page = (Vec<Version>, Option<(String, String)>);

fn page(xml: &str) -> Result<Page, String> {
    let form: PageForm = from_str(xml).map_err(|error| format!("the listing of versions: {error}"))?;
    let is_encoded = form.encoding_type.as_deref() == Some("url");
    let name = |text: String| match is_encoded {
        false => Ok(text),
        true => decoded(&text.replace('+', " ")).ok_or_else(|| format!("{text:?} is not well encoded")),
    };
    let entry = |form: EntryForm, is_marker| {
        let modified: Timestamp = form.last_modified.parse().map_err(|error| format!("{error}"))?;
        let id = if form.version_id.is_empty() { "null".to_owned() } else { form.version_id };
        let EntryForm { key, size, is_latest, .. } = form;
        Ok(Version { name: name(key)?, id, modified: modified.into(), size, is_marker, is_latest })
    };
    let entries = form.elements.into_iter().filter_map(|element| match element {
        Element::Version(form) => Some(entry(form, false)),
        Element::DeleteMarker(form) => Some(entry(form, true)),
        Element::Other => None,
    });
    let entries = entries.collect::<Result<_, String>>()?;
    let next = match (form.is_truncated, form.next_key_marker) {
        (false, _) => None,
        (true, Some(key)) => Some((name(key)?, form.next_version_id_marker)),
        (true, None) => return Err("the listing is cut off without a token for its rest".to_owned()),
    };
    Ok((entries, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<ListVersionsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix>p/</Prefix>
<KeyMarker></KeyMarker><VersionIdMarker/><MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType>
<IsTruncated>true</IsTruncated><NextKeyMarker>p/a%20b</NextKeyMarker><NextVersionIdMarker>v1</NextVersionIdMarker>
<DeleteMarker><Key>p/a+b</Key><VersionId>v3</VersionId><IsLatest>true</IsLatest>
<LastModified>2026-11-21T10:00:02.000Z</LastModified><Owner><ID>o</ID></Owner></DeleteMarker>
<Version><Key>p/a%20b</Key><VersionId>v2</VersionId><IsLatest>false</IsLatest>
<LastModified>2026-11-21T10:00:01.250Z</LastModified><ETag>&quot;e&quot;</ETag><Size>7</Size>
<Owner><ID>o</ID><DisplayName>d</DisplayName></Owner><StorageClass>STANDARD</StorageClass></Version>
<DeleteMarker><Key>p/%01%3C</Key><VersionId>v1</VersionId><LastModified>2026-11-21T10:00:00Z</LastModified></DeleteMarker>
<CommonPrefixes><Prefix>x/</Prefix></CommonPrefixes></ListVersionsResult>"#;

    fn at(text: &str) -> SystemTime {
        text.parse::<Timestamp>().unwrap().into()
    }

    #[test]
    fn a_page_keeps_versions_and_markers_in_their_order() {
        let (entries, next) = page(PAGE).unwrap();
        let entry = |name: &str, id: &str, modified, size, is_marker| Version {
            name: name.into(),
            id: id.into(),
            modified: at(modified),
            size,
            is_marker,
            is_latest: id == "v3",
        };
        assert_eq!(
            entries,
            [
                entry("p/a b", "v3", "2026-11-21T10:00:02Z", 0, true),
                entry("p/a b", "v2", "2026-11-21T10:00:01.25Z", 7, false),
                entry("p/\u{1}<", "v1", "2026-11-21T10:00:00Z", 0, true),
            ]
        );
        assert_eq!(next, Some(("p/a b".to_owned(), "v1".to_owned())));
    }

    #[test]
    fn a_page_that_is_no_whole_page_is_an_error() {
        let cut = PAGE.replace("<NextKeyMarker>p/a%20b</NextKeyMarker>", "");
        let broken =
            [&PAGE[..400], "", &cut, &PAGE.replace("10:00:02.000Z", "soon"), &PAGE.replace("%3C", "%3")];
        for xml in broken {
            assert!(page(xml).is_err(), "{xml}");
        }
        let (entries, next) = page("<R><IsTruncated>false</IsTruncated></R>").unwrap();
        assert!(entries.is_empty() && next.is_none());
    }
}
