//! What is told: in words, and as JSON.

use serde_json::json;

use crate::judge::Alarm;
use crate::told::News;

/// News in words and as JSON.
#[derive(Clone, Debug)]
pub struct Message {
    /// One line.
    pub subject: String,
    /// All of it.
    pub body: String,
    /// The same for programs.
    pub json: serde_json::Value,
}

impl Message {
    /// Of these news, as `host` tells them.
    pub fn of(news: &News, host: &str) -> Self {
        let subject = match (news.alarms.as_slice(), news.recovered.as_slice()) {
            ([one], []) => format!("mainstay: {one}"),
            ([], recovered) => format!("mainstay: well again: {}", recovered.join(", ")),
            (alarms, _) => format!("mainstay: {} backups need attention", alarms.len()),
        };
        let mut body: String = news.alarms.iter().map(|alarm| format!("ALARM  {alarm}\n")).collect();
        news.recovered.iter().for_each(|name| body += &format!("well   {name}\n"));
        body += &format!("\nSeen by mainstay watch on {host}. `mainstay backup list` shows what there is.\n");
        let alarm =
            |alarm: &Alarm| json!({ "name": alarm.name, "fault": alarm.fault, "message": alarm.words });
        let alarms: Vec<_> = news.alarms.iter().map(alarm).collect();
        // `text` is what chat services show.
        let json = json!({ "text": format!("{subject}\n{body}"), "alarms": alarms, "recovered": news.recovered, "host": host });
        Self { subject: subject.replace(['\r', '\n'], " "), body, json }
    }
}
